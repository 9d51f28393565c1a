// The product of two columns of ids, row by row.
#include "murmur.cuh"
#include "offsets.cuh"

namespace recis {
namespace {

constexpr int kBlock = 128;
// Ids that a block sorts in shared memory.
constexpr int kTile = 1024, kTileBits = 10;

struct Entries {
  int64_t* ids;
  float* weights;
  __device__ Entries from(int64_t place) const { return {ids + place, weights + place}; }
};

// One of the two columns, and its distinct ids: those of row r are ascending from the place where the
// row begins, counts[r].
struct Side {
  recis_ragged column;
  Entries distinct, scratch;  // [capacity] each
  uint32_t* counts;           // [rows]
};

struct Sides {
  Side of[2];
};

__device__ __forceinline__ float weight_of(const recis_ragged& column, int64_t place) {
  return column.weights ? column.weights[place] : 1.0f;
}

// Writes the distinct ids of up to 32 by a warp; returns how many.
__device__ uint32_t distinct_of_warp(const Side& side, Segment segment) {
  const unsigned lane = threadIdx.x % 32;
  const int64_t place = segment.begin + lane;
  const bool there = place < segment.end;
  const int64_t id = there ? side.column.values[place] : 0;
  const unsigned same = __match_any_sync(~0u, id) & __ballot_sync(~0u, there);
  const bool first = there && __ffs(int(same)) == int(lane) + 1;
  const unsigned firsts = __ballot_sync(~0u, first);
  uint32_t rank = 0;
  for (unsigned rest = firsts; rest; rest &= rest - 1)
    rank += __shfl_sync(~0u, id, __ffs(int(rest)) - 1) < id;
  if (first) {
    side.distinct.ids[segment.begin + rank] = id;
    side.distinct.weights[segment.begin + rank] = weight_of(side.column, place);
  }
  return uint32_t(__popc(firsts));
}

// Merges sorted runs of 2^bits entries in pairs; equal ids stay in order.
template <int block>
__device__ void merge_runs(Entries in, Entries out, uint32_t count, int bits) {
  for (uint32_t i = threadIdx.x; i < count; i += block) {
    const uint32_t run = i >> bits, other = run ^ 1;
    const uint32_t begin = min(other << bits, count), end = min(begin + (1u << bits), count);
    const int64_t id = in.ids[i];
    // How many of the other run come before; of equal ones those of the left run.
    uint32_t first = begin, last = end;
    while (first < last) {
      const uint32_t middle = (first + last) / 2;
      const int64_t it = in.ids[middle];
      if (it < id || (it == id && other < run)) first = middle + 1;
      else last = middle;
    }
    const uint32_t place = (min(run, other) << bits) + (i - (run << bits)) + (first - begin);
    out.ids[place] = id;
    out.weights[place] = in.weights[i];
  }
  __syncthreads();
}

// Moves the first of every run of equal ids to the front of `out`, which may be `in`.
template <int block>
__device__ uint32_t deduplicate(Entries in, Entries out, uint32_t count) {
  constexpr unsigned kWarps = block / 32;
  __shared__ uint32_t firsts_of_warps[kWarps];
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  uint32_t distinct = 0;
  for (uint32_t begin = 0; begin < count; begin += block) {
    const uint32_t i = begin + threadIdx.x;
    const int64_t id = i < count ? in.ids[i] : 0;
    const float weight = i < count ? in.weights[i] : 0;
    const bool first = i < count && (i == 0 || in.ids[i - 1] != id);
    const unsigned firsts = __ballot_sync(~0u, first);
    if (lane == 0) firsts_of_warps[warp] = uint32_t(__popc(firsts));
    // Entries are written at or before where they were read, and not before all have been.
    __syncthreads();
    uint32_t place = distinct + uint32_t(__popc(firsts & ((1u << lane) - 1)));
    for (unsigned other = 0; other < kWarps; ++other) {
      place += other < warp ? firsts_of_warps[other] : 0;
      distinct += firsts_of_warps[other];
    }
    if (first) {
      out.ids[place] = id;
      out.weights[place] = weight;
    }
    __syncthreads();
  }
  return distinct;
}

// Writes the distinct ids of any number by a block: sorts tiles in shared memory, and merges them.
// Returns how many.
template <int block>
__device__ uint32_t distinct_of_block(const Side& side, Segment segment) {
  __shared__ int64_t ids[2][kTile];
  __shared__ float weights[2][kTile];
  const uint32_t count = uint32_t(segment.end - segment.begin);
  Entries a = side.distinct.from(segment.begin), b = side.scratch.from(segment.begin);
  for (uint32_t begin = 0; begin < count; begin += kTile) {
    const uint32_t tile = min(count - begin, uint32_t(kTile));
    int from = 0;
    for (uint32_t i = threadIdx.x; i < tile; i += block) {
      ids[0][i] = side.column.values[segment.begin + begin + i];
      weights[0][i] = weight_of(side.column, segment.begin + begin + i);
    }
    __syncthreads();
    for (int bits = 0; 1u << bits < tile; ++bits, from ^= 1)
      merge_runs<block>({ids[from], weights[from]}, {ids[from ^ 1], weights[from ^ 1]}, tile, bits);
    for (uint32_t i = threadIdx.x; i < tile; i += block) {
      a.ids[begin + i] = ids[from][i];
      a.weights[begin + i] = weights[from][i];
    }
    __syncthreads();
  }
  for (int bits = kTileBits; 1u << bits < count; ++bits) {
    merge_runs<block>(a, b, count, bits);
    const Entries swap = a;
    a = b;
    b = swap;
  }
  return deduplicate<block>(a, side.distinct.from(segment.begin), count);
}

// Calls f(t) for every bit t of `words`, in order.
template <unsigned count, class F>
__device__ __forceinline__ void for_each_bit(const unsigned (&words)[count], F f) {
  for (unsigned word = 0; word < count; ++word)
    for (unsigned rest = words[word]; rest; rest &= rest - 1) f(word * 32 + unsigned(__ffs(int(rest))) - 1);
}

// The distinct ids of `rows_a_block` rows of either side, from `first_row` on, by a block: of rows of one id a thread
// each, of short ones a warp, of others the block. Thread t looks at row t / 2 of side t % 2.
template <int block>
__device__ __forceinline__ void distinct_of_rows(const Sides& sides, int64_t first_row, int64_t rows_a_block,
                                                 int64_t rows) {
  constexpr unsigned kWarps = block / 32;
  __shared__ unsigned short_rows[kWarps], long_rows[kWarps];  // a bit for each thread
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const auto row_of = [&](unsigned thread) { return first_row + thread / 2; };
  const auto segment_in = [&](const Side& side, int64_t row) {
    return segment_of(side.column.offsets, row, side.column.capacity);
  };
  const int64_t row = row_of(threadIdx.x);
  int64_t count = 0;
  if (threadIdx.x / 2 < rows_a_block && row < rows) {
    const Side& side = sides.of[threadIdx.x % 2];
    const Segment segment = segment_in(side, row);
    count = segment.end - segment.begin;
    if (count == 1) {
      side.distinct.ids[segment.begin] = side.column.values[segment.begin];
      side.distinct.weights[segment.begin] = weight_of(side.column, segment.begin);
    }
    if (count <= 1) side.counts[row] = uint32_t(count);
  }
  const unsigned shorts = __ballot_sync(~0u, count > 1 && count <= 32);
  const unsigned longs = __ballot_sync(~0u, count > 32);
  if (lane == 0) short_rows[warp] = shorts, long_rows[warp] = longs;
  __syncthreads();

  unsigned number = 0;
  for_each_bit(short_rows, [&](unsigned thread) {
    if (number++ % kWarps != warp) return;
    const Side& side = sides.of[thread % 2];
    const uint32_t distinct = distinct_of_warp(side, segment_in(side, row_of(thread)));
    if (lane == 0) side.counts[row_of(thread)] = distinct;
  });
  for_each_bit(long_rows, [&](unsigned thread) {
    const Side& side = sides.of[thread % 2];
    const uint32_t distinct = distinct_of_block<block>(side, segment_in(side, row_of(thread)));
    if (threadIdx.x == 0) side.counts[row_of(thread)] = distinct;
  });
}

__global__ void __launch_bounds__(kBlock) distinct_kernel(Sides sides, int64_t rows, int64_t rows_a_block) {
  wait_for_stream();
  distinct_of_rows<kBlock>(sides, blockIdx.x * rows_a_block, rows_a_block, rows);
}

struct PairsOf {
  const uint32_t *x_counts, *y_counts;
  __device__ int64_t operator()(int64_t row) const { return int64_t(x_counts[row]) * y_counts[row]; }
};

// The last row that begins at or before `place`, which is below begins[rows].
__device__ __forceinline__ int64_t row_of_pair(const int64_t* begins, int64_t rows, int64_t place) {
  // Where rows have one value each, as they mostly do, it is that of the same number.
  if (place < rows && begins[place] == place && begins[place + 1] > place) return place;
  int64_t first = 0, last = rows - 1;
  while (first < last) {
    const int64_t middle = last - (last - first) / 2;
    if (begins[middle] <= place) first = middle;
    else last = middle - 1;
  }
  return first;
}

// The result.
struct Out {
  int64_t* values;
  int32_t* offsets;
  float* weights;
  int64_t capacity;
  int64_t* pairs;
};

__device__ __forceinline__ void write_pairs(const Sides& sides, int64_t rows, const int64_t* begins, const Out& out) {
  const auto& [values, offsets, weights, capacity, pairs] = out;
  const Side &x = sides.of[0], &y = sides.of[1];
  for (int64_t row = grid_thread(); row <= rows; row += grid_threads())
    offsets[row] = int32_t(min(begins[row], capacity));
  if (grid_thread() == 0) pairs[0] = begins[rows];
  const int64_t count = min(begins[rows], capacity);
  for (int64_t place = grid_thread(); place < count; place += grid_threads()) {
    const int64_t row = row_of_pair(begins, rows, place);
    const uint32_t number = uint32_t(place - begins[row]), width = y.counts[row];
    // Only sums of offsets that do not ascend can wrap around, and lead beyond a row.
    if (width == 0 || number / width >= x.counts[row]) continue;
    const int64_t i = segment_of(x.column.offsets, row, x.column.capacity).begin + number / width;
    const int64_t j = segment_of(y.column.offsets, row, y.column.capacity).begin + number % width;
    values[place] = int64_t(murmur(x.distinct.ids[i], y.distinct.ids[j]));
    weights[place] = x.distinct.weights[i] * y.distinct.weights[j];
  }
}

__global__ void __launch_bounds__(kThreads)
    pairs_kernel(Sides sides, int64_t rows, const int64_t* begins, Out out) {
  wait_for_stream();
  write_pairs(sides, rows, begins, out);
}

// Rows of at most one id a side: how many pairs a row has.
struct OnePairOf {
  const Sides& sides;
  __device__ Segment segment(int side, int64_t row) const {
    const recis_ragged& column = sides.of[side].column;
    return segment_of(column.offsets, row, column.capacity);
  }
  __device__ uint32_t operator()(int64_t row) const {
    const Segment x = segment(0, row), y = segment(1, row);
    return x.end > x.begin && y.end > y.begin;
  }
};

// All of it by one block: of so little, launches would take longer than the work. Faster still if no row has more
// than one id a side, as there is nothing to sort then.
constexpr int kFewBlock = 1024, kFewIds = 2048;
__global__ void __launch_bounds__(kFewBlock) few_kernel(Sides sides, int64_t rows, int64_t* begins, Out out) {
  wait_for_stream();
  __shared__ uint32_t places[kFewIds + 1];
  const Side &x = sides.of[0], &y = sides.of[1];
  const OnePairOf one{sides};
  bool has_more = false;
  for (int64_t row = threadIdx.x; row < rows; row += kFewBlock)
    for (int side = 0; side < 2; ++side) {
      const Segment ids = one.segment(side, row);
      has_more = has_more || ids.end - ids.begin > 1;
    }
  if (__syncthreads_or(has_more)) {
    for (int64_t first = 0; first < rows; first += kFewBlock / 2) {
      distinct_of_rows<kFewBlock>(sides, first, kFewBlock / 2, rows);
      __syncthreads();
    }
    offsets_of_block<kFewIds / kFewBlock>(PairsOf{x.counts, y.counts}, rows, begins);
    __syncthreads();
    return write_pairs(sides, rows, begins, out);
  }
  offsets_of_block<kFewIds / kFewBlock>(one, rows, places);
  __syncthreads();
  for (int64_t row = threadIdx.x; row <= rows; row += kFewBlock) {
    const uint32_t place = places[row];
    out.offsets[row] = int32_t(min(int64_t(place), out.capacity));
    if (row == rows) out.pairs[0] = place;
    if (row == rows || places[row + 1] == place || place >= out.capacity) continue;
    const int64_t i = one.segment(0, row).begin, j = one.segment(1, row).begin;
    out.values[place] = int64_t(murmur(x.column.values[i], y.column.values[j]));
    out.weights[place] = weight_of(x.column, i) * weight_of(y.column, j);
  }
}

struct Scratch {
  Sides sides;
  int64_t* begins;  // [rows + 1]
  char* sums;
};

Scratch take(Workspace& workspace, const recis_ragged& x, const recis_ragged& y, int64_t rows) {
  const auto entries = [&](int64_t capacity) {
    auto* ids = workspace.take<int64_t>(capacity);
    return Entries{ids, workspace.take<float>(capacity)};
  };
  const auto side = [&](const recis_ragged& column) {
    const Entries distinct = entries(column.capacity), scratch = entries(column.capacity);
    return Side{column, distinct, scratch, workspace.take<uint32_t>(rows)};
  };
  const Side first = side(x), second = side(y);
  auto* begins = workspace.take<int64_t>(rows + 1);
  return {{{first, second}}, begins, workspace.take<char>(int64_t(offsets_bytes(rows)))};
}

int require_column(const recis_ragged* column, const char* op, const char* argument) {
  if (int status = require(column, op, argument, "is null")) return status;
  return first_of(require(column->rows >= 0, op, argument, "has a negative number of rows"),
                  require(column->rows < INT32_MAX, op, argument, "has too many rows"),
                  require_array(column->values, column->capacity, op, argument),
                  require_array(column->offsets, 1, op, argument),
                  require_array(column->weights, 0, op, argument));
}

}  // namespace
}  // namespace recis

extern "C" int recis_feature_cross_workspace_size(int64_t rows, int64_t x_capacity, int64_t y_capacity,
                                                  size_t* bytes) {
  using namespace recis;
  const char* op = "feature_cross.workspace_size";
  if (int status = first_of(require(rows >= 0 && rows < INT32_MAX, op, "rows", "are negative or too many"),
                            require(x_capacity >= 0 && y_capacity >= 0, op, "a capacity", "is negative"),
                            require(bytes, op, "bytes", "is null")))
    return status;
  if (int status = require_device(op)) return status;
  Workspace needed;
  const recis_ragged x{nullptr, nullptr, nullptr, rows, x_capacity};
  const recis_ragged y{nullptr, nullptr, nullptr, rows, y_capacity};
  take(needed, x, y, rows);
  *bytes = needed.bytes();
  return RECIS_OK;
}

extern "C" int recis_feature_cross_forward(const recis_ragged* x, const recis_ragged* y, int64_t* values,
                                           int32_t* offsets, float* weights, int64_t capacity, int64_t* pairs,
                                           void* workspace, size_t workspace_bytes, recis_stream_t stream) {
  using namespace recis;
  const char* op = "feature_cross.forward";
  if (int status = first_of(require_column(x, op, "x"), require_column(y, op, "y"),
                            require_array(values, capacity, op, "values"),
                            require_array(offsets, 1, op, "offsets"),
                            require_array(weights, capacity, op, "weights"),
                            require_array(pairs, 1, op, "pairs")))
    return status;
  const int64_t rows = min(x->rows, y->rows);
  Workspace needed, memory(workspace);
  take(needed, *x, *y, rows);
  if (int status = require_workspace(workspace, workspace_bytes, needed.bytes(), op)) return status;
  const Scratch scratch = take(memory, *x, *y, rows);
  const Sides& sides = scratch.sides;

  // Offsets have 32 bits.
  const Out out{values, offsets, weights, std::min(capacity, int64_t(INT32_MAX)), pairs};
  if (rows <= kFewIds && x->capacity <= kFewIds && y->capacity <= kFewIds && capacity <= 4 * kFewIds)
    return launch(op, few_kernel, 1, kFewBlock, 0, stream, sides, rows, scratch.begins, out);
  const int64_t rows_a_block = min(rows / (132 * 16) + 1, int64_t(kBlock / 2));
  const unsigned blocks = unsigned((rows + rows_a_block - 1) / rows_a_block);
  if (rows > 0)
    if (int status = launch(op, distinct_kernel, blocks, kBlock, 0, stream, sides, rows, rows_a_block))
      return status;
  if (int status = offsets_of(op, PairsOf{sides.of[0].counts, sides.of[1].counts}, rows, scratch.begins,
                              scratch.sums, offsets_bytes(rows), stream))
    return status;
  return launch(op, pairs_kernel, blocks_for(max(out.capacity, rows + 1)), kThreads, 0, stream, sides, rows,
                scratch.begins, out);
}
