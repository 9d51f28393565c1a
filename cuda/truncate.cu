// Rows, and rows of lists, cut to a length.
#include "modulo.cuh"
#include "offsets.cuh"

namespace recis {
namespace {

__device__ __forceinline__ Segment cut(Segment segment, int64_t keep, recis_side side) {
  if (segment.end - segment.begin <= keep) return segment;
  return side == RECIS_LEFT ? Segment{segment.end - keep, segment.end}
                            : Segment{segment.begin, segment.begin + keep};
}

// Which values a row of the result has: those that its row keeps.
struct CutRows {
  const int32_t* offsets;
  int64_t capacity, keep;
  recis_side side;
  __device__ Segment operator()(int64_t row) const {
    return cut(segment_of(offsets, row, capacity), keep, side);
  }
};

// Here a row of the result is a list, of which every row has `keep`; missing ones are empty.
struct CutLists {
  const int32_t *row_offsets, *list_offsets;
  int64_t lists, capacity;
  int32_t keep;
  recis_side side;
  __device__ Segment operator()(int64_t out_list) const {
    const int64_t row = int32_t(out_list) / keep, place = int32_t(out_list) % keep;
    const Segment kept = cut(segment_of(row_offsets, row, lists), keep, side);
    if (kept.begin + place >= kept.end) return {0, 0};
    return segment_of(list_offsets, kept.begin + place, capacity);
  }
};

template <class Kept>
struct LengthOf {
  Kept kept;
  __device__ uint32_t operator()(int64_t row) const {
    const Segment segment = kept(row);
    return uint32_t(segment.end - segment.begin);
  }
};

// The last row of first..=last that begins at or before `place`, as `first` does.
__device__ __forceinline__ int64_t row_of(const int32_t* offsets, int64_t first, int64_t last,
                                          int64_t place) {
  while (first < last) {
    const int64_t middle = last - (last - first) / 2;
    if (offsets[middle] <= place) first = middle;
    else last = middle - 1;
  }
  return first;
}

// The same by a warp, which looks at 32 rows at once.
__device__ __forceinline__ int64_t row_of_warp(const int32_t* offsets, int64_t rows, int64_t place) {
  const int64_t lane = threadIdx.x % 32;
  int64_t first = 0, count = rows;
  while (count > 1) {
    const int64_t step = (count + 31) / 32;
    const bool before = lane * step < count && offsets[first + lane * step] <= place;
    // Offsets ascend, so that these are the first lanes; lane 0 is one of them.
    const int64_t skipped = max(__popc(__ballot_sync(~0u, before)) - 1, 0) * step;
    first += skipped;
    count = min(step, count - skipped);
  }
  return first;
}

// Elements of the result that a warp takes at once.
constexpr int kChunk = 256;

// Copies a whole chunk that comes from one place.
template <class T, class F>
__device__ __forceinline__ void copy_chunk(const T* in, T* out, F f) {
  const int lane = threadIdx.x % 32;
  constexpr int packs = kChunk / Pack<T>::size / 32;
  if (reinterpret_cast<uintptr_t>(in) % sizeof(Pack<T>) == 0) {
    Pack<T> pack[packs];
#pragma unroll
    for (int k = 0; k < packs; ++k) pack[k] = reinterpret_cast<const Pack<T>*>(in)[k * 32 + lane];
#pragma unroll
    for (int k = 0; k < packs; ++k) {
      for (T& value : pack[k].value) value = f(value);
      reinterpret_cast<Pack<T>*>(out)[k * 32 + lane] = pack[k];
    }
    return;
  }
  T value[kChunk / 32];
#pragma unroll
  for (int k = 0; k < kChunk / 32; ++k) value[k] = in[k * 32 + lane];
#pragma unroll
  for (int k = 0; k < kChunk / 32; ++k) out[k * 32 + lane] = f(value[k]);
}

// Copies elements that come from several places, `from` of each; not those that come from nowhere, below 0. All are loaded
// at once.
template <class T, class F>
__device__ __forceinline__ void copy_some(const T* in, T* out, const int32_t (&from)[kChunk / 32], F f) {
  const int lane = threadIdx.x % 32;
  T value[kChunk / 32];
#pragma unroll
  for (int k = 0; k < kChunk / 32; ++k) value[k] = from[k] >= 0 ? in[from[k]] : T(0);
#pragma unroll
  for (int k = 0; k < kChunk / 32; ++k)
    if (from[k] >= 0) out[k * 32 + lane] = f(value[k]);
}

// A column's values, what becomes of each, and where they go.
template <class Kept, class F>
struct Copy {
  const int64_t* values;
  const float* weights;
  int64_t capacity;
  Kept kept;
  F value;
  int64_t rows, out_capacity;
  int64_t* out_values;
  float* out_weights;
};

// Every warp takes chunks of the result, wherever rows begin: long and short rows cost the same. first_kept(row) is the
// first value that a row keeps.
template <class Kept, class F, class First>
__device__ __forceinline__ void copy_chunks(const Copy<Kept, F>& copy, const int32_t* out_offsets, First first_kept) {
  const auto& [values, weights, capacity, kept, value, rows, out_capacity, out_values, out_weights] = copy;
  const int64_t count = min(max(int64_t(out_offsets[rows]), int64_t(0)), out_capacity);
  const int64_t chunks = (count + kChunk - 1) / kChunk;
  const int lane = threadIdx.x % 32;
  for (int64_t chunk = grid_thread() / 32; chunk < chunks; chunk += grid_threads() / 32) {
    const int64_t begin = chunk * kChunk, end = min(begin + kChunk, count);
    const int64_t first = row_of_warp(out_offsets, rows, begin);
    if (end == begin + kChunk && out_offsets[first + 1] >= end) {
      const int64_t from = first_kept(first) + begin - out_offsets[first];
      if (from < 0 || from + kChunk > capacity) continue;  // only where offsets do not ascend
      copy_chunk(values + from, out_values + begin, value);
      if (weights) copy_chunk(weights + from, out_weights + begin, Same());
      continue;
    }
    const int64_t last = row_of_warp(out_offsets, rows, end - 1);
    int32_t from[kChunk / 32];
#pragma unroll
    for (int k = 0; k < kChunk / 32; ++k) {
      const int64_t place = begin + k * 32 + lane;
      from[k] = -1;
      if (place >= end) continue;
      const int64_t row = row_of(out_offsets, first, last, place);
      const int64_t there = first_kept(row) + place - out_offsets[row];
      if (there >= 0 && there < capacity) from[k] = int32_t(there);  // offsets have no more bits
    }
    copy_some(values, out_values + begin, from, value);
    if (weights) copy_some(weights, out_weights + begin, from, Same());
  }
}

// Four blocks a multiprocessor: with more, what a lane has under way does not fit its registers.
template <class Kept, class F>
__global__ void __launch_bounds__(kThreads, 4) copy_kernel(Copy<Kept, F> copy, const int32_t* out_offsets) {
  wait_for_stream();
  copy_chunks(copy, out_offsets, [&](int64_t row) { return copy.kept(row).begin; });
}

// Of so few rows every block finds out by itself where they begin and what they keep, rather than wait for another launch
// or, chunk by chunk, for memory.
constexpr int kFewRows = 2048;
template <class Kept, class F>
__global__ void __launch_bounds__(kThreads, 4) copy_few_kernel(Copy<Kept, F> copy, int32_t* out_offsets) {
  wait_for_stream();
  __shared__ int32_t begins[kFewRows + 1], kept[kFewRows];
  const auto length = [&](int64_t row) {
    const Segment segment = copy.kept(row);
    kept[row] = int32_t(segment.begin);
    return uint32_t(segment.end - segment.begin);
  };
  // The sums are of unsigned numbers; the numbers are the same.
  offsets_of_block<kFewRows / kThreads>(length, copy.rows, reinterpret_cast<uint32_t*>(begins));
  __syncthreads();
  for (int64_t i = grid_thread(); i <= copy.rows; i += grid_threads()) out_offsets[i] = begins[i];
  copy_chunks(copy, begins, [&](int64_t row) { return int64_t(kept[row]); });
}

template <class Kept, class F>
int truncate(const char* op, const Copy<Kept, F>& copy, int32_t* out_offsets, void* workspace,
             recis_stream_t stream) {
  const int64_t rows = copy.rows;
  const unsigned blocks = blocks_for((copy.out_capacity + kChunk - 1) / kChunk * 32);
  if (rows <= kFewRows)
    return launch(op, copy_few_kernel<Kept, F>, blocks, kThreads, 0, stream, copy, out_offsets);
  auto* offsets = reinterpret_cast<uint32_t*>(out_offsets);
  const size_t bytes = offsets_bytes(rows);
  if (int status = offsets_of(op, LengthOf<Kept>{copy.kept}, rows, offsets, workspace, bytes, stream)) return status;
  if (copy.out_capacity == 0) return RECIS_OK;
  return launch(op, copy_kernel<Kept, F>, blocks, kThreads, 0, stream, copy, out_offsets);
}

// RECIS_OK if there are no more rows of the result than 32-bit numbers can count.
int require_rows(int64_t rows, int64_t lists_a_row, const char* op) {
  constexpr int64_t most = INT32_MAX - 1;
  return first_of(require(rows >= 0, op, "rows", "is negative"),
                  require(lists_a_row >= 0, op, "keep", "is negative"),
                  require(lists_a_row <= 0 || rows <= most / lists_a_row, op, "rows", "is too large"));
}

int require_column(const recis_ragged& column, recis_side side, const int64_t* out_values,
                   const int32_t* out_offsets, const float* out_weights, int64_t out_capacity,
                   const char* op) {
  return first_of(require_array(column.values, column.capacity, op, "values"),
                  require_array(column.offsets, 1, op, "offsets"),
                  require_array(column.weights, 0, op, "weights"),
                  require_array(out_values, out_capacity, op, "out_values"),
                  require_array(out_offsets, 1, op, "out_offsets"),
                  require_array(out_weights, column.weights ? out_capacity : 0, op, "out_weights"),
                  require(column.weights || !out_weights, op, "weights", "is null, but out_weights is not"),
                  require(side == RECIS_LEFT || side == RECIS_RIGHT, op, "side", "is unknown"));
}

}  // namespace
}  // namespace recis

extern "C" int recis_truncate_workspace_size(int64_t rows, size_t* bytes) {
  using namespace recis;
  const char* op = "truncate.workspace_size";
  if (int status = first_of(require_rows(rows, 1, op), require(bytes, op, "bytes", "is null"))) return status;
  if (int status = require_device(op)) return status;
  *bytes = offsets_bytes(rows);
  return RECIS_OK;
}

extern "C" int recis_truncate_forward(const recis_ragged* column, int64_t keep, recis_side side, uint64_t modulus,
                                      int64_t* out_values, int32_t* out_offsets, float* out_weights,
                                      int64_t out_capacity, void* workspace, size_t workspace_bytes,
                                      recis_stream_t stream) {
  using namespace recis;
  const char* op = "truncate.forward";
  if (int status = require(column, op, "column", "is null")) return status;
  if (int status = first_of(
          require_rows(column->rows, 1, op), require(keep >= 0, op, "keep", "is negative"),
          require_column(*column, side, out_values, out_offsets, out_weights, out_capacity, op)))
    return status;
  const int64_t rows = column->rows, capacity = column->capacity;
  // min(capacity, rows * keep), where the product may not fit.
  const int64_t most = rows == 0 || keep <= capacity / rows ? rows * keep : capacity;
  if (int status = first_of(require(out_capacity >= most, op, "out_capacity", "is too small"),
                            require_workspace(workspace, workspace_bytes, offsets_bytes(rows), op)))
    return status;
  const CutRows kept{column->offsets, capacity, keep, side};
  return with_modulus(modulus, [&](auto value) {
    const Copy<CutRows, decltype(value)> copy{column->values, column->weights, capacity,  kept, value, rows, most,
                                              out_values,     out_weights};
    return truncate(op, copy, out_offsets, workspace, stream);
  });
}

extern "C" int recis_truncate_lists_workspace_size(int64_t rows, int64_t keep, size_t* bytes) {
  using namespace recis;
  const char* op = "truncate.lists_workspace_size";
  if (int status = first_of(require_rows(rows, keep, op), require(bytes, op, "bytes", "is null")))
    return status;
  if (int status = require_device(op)) return status;
  *bytes = offsets_bytes(rows * keep);
  return RECIS_OK;
}

extern "C" int recis_truncate_lists(const recis_ragged* lists, const int32_t* row_offsets, int64_t rows,
                                    int64_t keep, recis_side side, int64_t* out_values, int32_t* out_offsets,
                                    float* out_weights, int64_t out_capacity, void* workspace,
                                    size_t workspace_bytes, recis_stream_t stream) {
  using namespace recis;
  const char* op = "truncate.lists";
  if (int status = require(lists, op, "lists", "is null")) return status;
  if (int status = first_of(
          require_rows(lists->rows, 1, op), require_rows(rows, keep, op),
          require_array(row_offsets, 1, op, "row_offsets"),
          require_column(*lists, side, out_values, out_offsets, out_weights, out_capacity, op)))
    return status;
  const int64_t out_rows = rows * keep;
  if (int status = first_of(require(out_capacity >= lists->capacity, op, "out_capacity", "is too small"),
                            require_workspace(workspace, workspace_bytes, offsets_bytes(out_rows), op)))
    return status;
  const CutLists kept{row_offsets, lists->offsets, lists->rows, lists->capacity, int32_t(keep), side};
  const Copy<CutLists, Same> copy{lists->values, lists->weights,  lists->capacity, kept, Same(), out_rows,
                                  lists->capacity, out_values, out_weights};
  return truncate(op, copy, out_offsets, workspace, stream);
}
