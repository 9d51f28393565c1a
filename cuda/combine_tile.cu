// The first embeddings of a segment side by side.
#include "segment_sum.cuh"

namespace recis {
namespace {

template <int width>
__device__ __forceinline__ void store_streaming(float* to, const Floats<width>& floats) {
  if constexpr (width == 4)
    __stcs(reinterpret_cast<float4*>(to),
           float4{floats.value[0], floats.value[1], floats.value[2], floats.value[3]});
  else
    __stcs(to, floats.value[0]);
}

// A segment has 2^shift threads of a block. What is written is not read again soon, unlike the embeddings.
template <int width>
__global__ void __launch_bounds__(kThreads)
    tile_kernel(recis_lookup lookup, uint32_t tile_len, float* out, int64_t out_stride, int shift) {
  wait_for_stream();
  constexpr int kAtOnce = 4;
  const uint32_t lanes = uint32_t(lookup.dim / width), columns = tile_len * lanes;
  const uint32_t step = 1u << shift, own = threadIdx.x & (step - 1);
  const int64_t segments_at_once = kThreads >> shift;
  for (int64_t segment = blockIdx.y * segments_at_once + (threadIdx.x >> shift); segment < lookup.segments;
       segment += gridDim.y * segments_at_once) {
    const Segment ids = segment_of(lookup.offsets, segment, lookup.capacity);
    const uint32_t* inverse = lookup.inverse + lookup.first_id + ids.begin;
    float* row = out + segment * out_stride;
    for (uint32_t first = blockIdx.x * step * kAtOnce + own; first < columns;
         first += gridDim.x * step * kAtOnce) {
      uint32_t place[kAtOnce];
      Floats<width> values[kAtOnce];
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        const uint32_t at = first + k * step, i = at / lanes;
        place[k] = at < columns && i < ids.end - ids.begin ? inverse[i] : RECIS_NO_ROW;
      }
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k)
        values[k] = embedding<width>(lookup, place[k], (first + k * step) % lanes * width);
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        const uint32_t at = first + k * step;
        if (at < columns) store_streaming<width>(row + int64_t(at) * width, values[k]);
      }
    }
  }
}

// What an id within the tile adds: the gradient at its place in the segment, the word.
struct Source {
  const float* d_out;
  int64_t stride, dim, tile_len;

  __device__ __forceinline__ Term term(uint32_t segment, Segment ids, int64_t id) const {
    const int64_t k = id - ids.begin;
    return k >= 0 && k < tile_len ? Term{segment, uint32_t(k)} : Term{kNoSegment, 0};
  }
  template <int width>
  __device__ __forceinline__ Floats<width> load(Term term, int64_t column) const {
    return load_once<width>(d_out + term.segment * stride + term.word * dim + column);
  }
  __device__ __forceinline__ float factor(Term) const { return 1.0f; }
};

// What both passes take; the lookup is checked.
int require_tile(const recis_lookup& lookup, int64_t tile_len, const float* out, int64_t first_column,
                 int64_t out_stride, const char* op, const char* name) {
  const bool fits = tile_len >= 0 && tile_len <= (int64_t(1) << 30) / lookup.dim;
  if (int status = require(fits, op, "tile_len", "is negative or too large")) return status;
  return require_columns(out, lookup.segments, first_column, tile_len * lookup.dim, out_stride, op, name);
}

}  // namespace
}  // namespace recis

extern "C" int recis_combine_tile_forward(const recis_lookup* lookup, int64_t tile_len, float* out,
                                          int64_t first_column, int64_t out_stride, recis_stream_t stream) {
  using namespace recis;
  const char* op = "combine_tile.forward";
  if (int status = require_lookup(lookup, op)) return status;
  if (int status = require_tile(*lookup, tile_len, out, first_column, out_stride, op, "out")) return status;
  if (lookup->segments == 0 || tile_len == 0) return RECIS_OK;
  const bool wide = columns_are_wide(lookup->dim, first_column, out_stride);
  const int64_t packs = tile_len * lookup->dim / (wide ? 4 : 1);
  int shift = 0;  // of the threads a segment: the whole block's for long tiles
  while (kThreads >> shift > 1 && int64_t(1) << shift < packs) ++shift;
  const int64_t at_once = kThreads >> shift, steps = (lookup->segments + at_once - 1) / at_once;
  const dim3 grid(blocks_for((packs + 3) / 4), unsigned(steps < 65535 ? steps : 65535));
  return launch(op, wide ? tile_kernel<4> : tile_kernel<1>, grid, kThreads, 0, stream, *lookup,
                uint32_t(tile_len), out + first_column, out_stride, shift);
}

extern "C" int recis_combine_tile_backward_workspace_size(const recis_lookup* lookup,
                                                          const recis_occurrences* occurrences,
                                                          size_t* bytes) {
  using namespace recis;
  const char* op = "combine_tile.backward_workspace_size";
  if (int status = require_lookup(lookup, op)) return status;
  if (int status = first_of(require_occurrences(occurrences, *lookup, op),
                            require(bytes, op, "bytes", "is null")))
    return status;
  Workspace workspace;
  sum_scratch(workspace, *lookup, *occurrences);
  *bytes = workspace.bytes();
  return RECIS_OK;
}

extern "C" int recis_combine_tile_backward(const recis_lookup* lookup, const recis_occurrences* occurrences,
                                           int64_t tile_len, const float* d_out, int64_t first_column,
                                           int64_t out_stride, float* d_embeddings, void* workspace,
                                           size_t workspace_bytes, recis_stream_t stream) {
  using namespace recis;
  const char* op = "combine_tile.backward";
  if (int status = require_lookup(lookup, op)) return status;
  if (int status = first_of(require_occurrences(occurrences, *lookup, op),
                            require_tile(*lookup, tile_len, d_out, first_column, out_stride, op, "d_out"),
                            require_array(d_embeddings, lookup->unique, op, "d_embeddings")))
    return status;
  Workspace cut(workspace);
  const SumScratch scratch = sum_scratch(cut, *lookup, *occurrences);
  if (int status = require_workspace(workspace, workspace_bytes, cut.bytes(), op)) return status;
  if (lookup->segments == 0 || lookup->capacity == 0 || lookup->unique == 0 || tile_len == 0) return RECIS_OK;
  const Source source{d_out + first_column, out_stride, lookup->dim, tile_len};
  const bool wide = columns_are_wide(lookup->dim, first_column, out_stride);
  SumsById<Source> sums(op, stream);
  const int status = sums.add(*lookup, *occurrences, source, wide, scratch, d_embeddings);
  return status == RECIS_OK ? sums.finish() : status;
}
