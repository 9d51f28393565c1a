// Sums and means of a segment's embeddings.
#include "segment_sum.cuh"

namespace recis {
namespace {

// Sums of embeddings and of weights.
template <int width>
struct WeightedSum {
  Floats<width> embeddings;
  float weights;
};

// A group's share of a segment's ids, begin + group, begin + group + groups, ...
template <int width>
__device__ __forceinline__ WeightedSum<width> sum_ids(const recis_lookup& lookup, const float* weights,
                                                      Segment ids, int group, int groups, int64_t column) {
  constexpr int kAtOnce = 4;
  WeightedSum<width> sum{};
  for (int64_t first = ids.begin + group; first < ids.end; first += int64_t(kAtOnce) * groups) {
    uint32_t place[kAtOnce];
    float weight[kAtOnce];
    Floats<width> term[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int64_t id = first + k * groups;
      place[k] = id < ids.end && column < lookup.dim ? lookup.inverse[lookup.first_id + id] : RECIS_NO_ROW;
      weight[k] = id >= ids.end ? 0.0f : weights ? weights[id] : 1.0f;
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) term[k] = embedding<width>(lookup, place[k], column);
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      // The product with a missing term's zeros would be NaN if the weight is infinite.
      if (place[k] < lookup.unique) add_scaled(sum.embeddings, weight[k], term[k]);
      sum.weights += weight[k];
    }
  }
  return sum;
}

// One over the denominator of a segment; 0 if it is empty.
__device__ __forceinline__ float scale_of(recis_denominator denominator, int64_t ids, float weights) {
  if (ids == 0) return 0.0f;
  return denominator == RECIS_ONE ? 1.0f : 1.0f / (denominator == RECIS_WEIGHTS ? weights : float(ids));
}

// Where the combined embeddings go.
struct Out {
  float* values;
  int64_t stride;
};

// Each of the block's `per_block` segments has a warp if it is short, and then the whole block if it is long.
// Which it is depends on its length alone, and so does the order of the sum.
template <int width>
__global__ void __launch_bounds__(kThreads)
    combine_kernel(recis_lookup lookup, const float* weights, recis_denominator denominator, Out out,
                   int shift, int per_block) {
  wait_for_stream();
  constexpr int kWarps = kThreads / 32;
  __shared__ Floats<width> sums[kWarps][32];
  __shared__ float weight_sums[kWarps];
  const int64_t column = lane_column<width>(shift) + (int64_t(blockIdx.y) * width << shift);
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32, groups = 32 >> shift;
  const auto is_short = [&](Segment ids) { return ids.end - ids.begin <= 8 * groups; };
  const auto write = [&](int64_t segment, Segment ids, WeightedSum<width> sum) {
    const float scale = scale_of(denominator, ids.end - ids.begin, sum.weights);
    for (float& value : sum.embeddings.value) value *= scale;
    if (lane >> shift == 0 && column < lookup.dim)
      store_floats(out.values + segment * out.stride + column, sum.embeddings);
  };
  const auto sum_of_warp = [&](Segment ids, int group, int of_groups) {
    WeightedSum<width> sum = sum_ids<width>(lookup, weights, ids, group, of_groups, column);
    add_groups(sum.embeddings, shift);
    for (int distance = 1 << shift; distance < 32; distance *= 2)
      sum.weights += __shfl_xor_sync(~0u, sum.weights, distance);
    return sum;
  };
  for (int64_t first = int64_t(blockIdx.x) * per_block; first < lookup.segments;
       first += int64_t(gridDim.x) * per_block) {
    const int64_t end = first + per_block < lookup.segments ? first + per_block : lookup.segments;
    if (first + warp < end) {
      const Segment ids = segment_of(lookup.offsets, first + warp, lookup.capacity);
      if (is_short(ids)) write(first + warp, ids, sum_of_warp(ids, lane >> shift, groups));
    }
    for (int64_t segment = first; segment < end; ++segment) {
      const Segment ids = segment_of(lookup.offsets, segment, lookup.capacity);
      if (is_short(ids)) continue;
      WeightedSum<width> sum = sum_of_warp(ids, warp * groups + (lane >> shift), kWarps * groups);
      sums[warp][lane] = sum.embeddings;
      if (lane == 0) weight_sums[warp] = sum.weights;
      __syncthreads();
      if (warp == 0) {
        for (int other = 1; other < kWarps; ++other) {
          add(sum.embeddings, sums[other][lane]);
          sum.weights += weight_sums[other];
        }
        write(segment, ids, sum);
      }
      __syncthreads();
    }
  }
}

// scales[s] = one over the sum of a segment's weights, a warp a segment.
__global__ void __launch_bounds__(kThreads)
    scales_kernel(recis_lookup lookup, const float* weights, float* scales) {
  wait_for_stream();
  for (int64_t segment = grid_thread() / 32; segment < lookup.segments; segment += grid_threads() / 32) {
    const Segment ids = segment_of(lookup.offsets, segment, lookup.capacity);
    Floats<1> sum{};
#pragma unroll 4
    for (int64_t id = ids.begin + threadIdx.x % 32; id < ids.end; id += 32) sum.value[0] += weights[id];
    add_groups(sum, 0);
    if (threadIdx.x % 32 == 0) scales[segment] = scale_of(RECIS_WEIGHTS, ids.end - ids.begin, sum.value[0]);
  }
}

// What an id adds: its segment's gradient times a factor, the word.
struct Source {
  const float* d_out;
  int64_t stride;
  const float* weights;
  const float* scales;  // of each segment; null: by the denominator
  recis_denominator denominator;

  __device__ __forceinline__ Term term(uint32_t segment, Segment ids, int64_t id) const {
    const float scale = scales ? scales[segment] : scale_of(denominator, ids.end - ids.begin, 1.0f);
    return {segment, uint32_t(__float_as_int((weights ? weights[id] : 1.0f) * scale))};
  }
  template <int width>
  __device__ __forceinline__ Floats<width> load(Term term, int64_t column) const {
    return load_floats<width>(d_out + term.segment * stride + column);
  }
  __device__ __forceinline__ float factor(Term term) const { return __int_as_float(int(term.word)); }
};

struct Scratch {
  SumScratch sum;
  float* scales;  // [segments]
};

Scratch scratch_of(Workspace& workspace, const recis_lookup& lookup, const recis_occurrences& occurrences) {
  Scratch scratch;
  scratch.sum = sum_scratch(workspace, lookup, occurrences);
  scratch.scales = workspace.take<float>(lookup.segments);
  return scratch;
}

// What both passes take; the lookup is checked.
int require_combine(const recis_lookup& lookup, const float* weights, recis_denominator denominator,
                    const float* out, int64_t first_column, int64_t out_stride, const char* op,
                    const char* name) {
  const bool known = denominator >= RECIS_ONE && denominator <= RECIS_COUNT;
  return first_of(require_array(weights, 0, op, "weights"), require(known, op, "denominator", "is unknown"),
                  require_columns(out, lookup.segments, first_column, lookup.dim, out_stride, op, name));
}

}  // namespace
}  // namespace recis

extern "C" int recis_combine_forward(const recis_lookup* lookup, const float* weights,
                                     recis_denominator denominator, float* out, int64_t first_column,
                                     int64_t out_stride, recis_stream_t stream) {
  using namespace recis;
  const char* op = "combine.forward";
  if (int status = require_lookup(lookup, op)) return status;
  if (int status = require_combine(*lookup, weights, denominator, out, first_column, out_stride, op, "out"))
    return status;
  if (lookup->segments == 0) return RECIS_OK;
  if (!weights && denominator == RECIS_WEIGHTS) denominator = RECIS_COUNT;
  const bool wide = columns_are_wide(lookup->dim, first_column, out_stride);
  const int width = wide ? 4 : 1, shift = group_shift(lookup->dim, width);
  const int64_t segments = lookup->segments;
  // A block to each segment as long as that does not make more blocks than can run at once.
  const int64_t share = segments / (132 * 8) + 1, per_block = share < 8 ? share : 8;
  const dim3 grid(blocks_for((segments + per_block - 1) / per_block * kThreads),
                  slices_of(lookup->dim, width, shift));
  return launch(op, wide ? combine_kernel<4> : combine_kernel<1>, grid, kThreads, 0, stream, *lookup, weights,
                denominator, Out{out + first_column, out_stride}, shift, int(per_block));
}

extern "C" int recis_combine_backward_workspace_size(const recis_lookup* lookup,
                                                     const recis_occurrences* occurrences, size_t* bytes) {
  using namespace recis;
  const char* op = "combine.backward_workspace_size";
  if (int status = require_lookup(lookup, op)) return status;
  if (int status = first_of(require_occurrences(occurrences, *lookup, op),
                            require(bytes, op, "bytes", "is null")))
    return status;
  Workspace workspace;
  scratch_of(workspace, *lookup, *occurrences);
  *bytes = workspace.bytes();
  return RECIS_OK;
}

extern "C" int recis_combine_backward(const recis_lookup* lookup, const recis_occurrences* occurrences,
                                      const float* weights, recis_denominator denominator, const float* d_out,
                                      int64_t first_column, int64_t out_stride, float* d_embeddings,
                                      void* workspace, size_t workspace_bytes, recis_stream_t stream) {
  using namespace recis;
  const char* op = "combine.backward";
  if (int status = require_lookup(lookup, op)) return status;
  Workspace cut(workspace);
  if (int status = first_of(require_occurrences(occurrences, *lookup, op),
                            require_combine(*lookup, weights, denominator, d_out, first_column, out_stride,
                                            op, "d_out"),
                            require_array(d_embeddings, lookup->unique, op, "d_embeddings")))
    return status;
  const Scratch scratch = scratch_of(cut, *lookup, *occurrences);
  if (int status = require_workspace(workspace, workspace_bytes, cut.bytes(), op)) return status;
  if (lookup->segments == 0 || lookup->capacity == 0 || lookup->unique == 0) return RECIS_OK;
  const bool by_weights = weights && denominator == RECIS_WEIGHTS;
  if (by_weights) {
    if (int status = launch(op, scales_kernel, blocks_for(lookup->segments * 32), kThreads, 0, stream,
                            *lookup, weights, scratch.scales))
      return status;
  } else if (denominator == RECIS_WEIGHTS) {
    denominator = RECIS_COUNT;
  }
  const Source source{d_out + first_column, out_stride, weights, by_weights ? scratch.scales : nullptr,
                      denominator};
  return sum_by_id(op, *lookup, *occurrences, source, columns_are_wide(lookup->dim, first_column, out_stride),
                   scratch.sum, d_embeddings, stream);
}
