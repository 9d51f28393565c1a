// Sums and means of a segment's embeddings.
#include "segment_sum.cuh"

#include <algorithm>

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

// At most so many features a launch: with the rest, they fit the 4 KB that it can hand over.
constexpr int64_t kMostFeatures = 32;

struct Features {
  recis_combined feature[kMostFeatures];
  int shift[kMostFeatures];  // of the lanes that have a group of columns
};

// Where the combined embeddings go.
struct Out {
  float* values;
  int64_t stride;
};

// Each of the block's `per_block` segments has a warp if it is short, and then the whole block if it is long.
// Which it is depends on its length alone, and so does the order of the sum.
template <int width>
__global__ void __launch_bounds__(kThreads)
    combine_kernel(const Features features, Out out, int per_block) {
  wait_for_stream();
  constexpr int kWarps = kThreads / 32;
  __shared__ Floats<width> sums[kWarps][32];
  __shared__ float weight_sums[kWarps];
  const auto& [lookup, weights, denominator, first_column] = features.feature[blockIdx.z];
  const int shift = features.shift[blockIdx.z];
  const int64_t column = lane_column<width>(shift) + (int64_t(blockIdx.y) * width << shift);
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32, groups = 32 >> shift;
  const auto is_short = [&](Segment ids) { return ids.end - ids.begin <= 8 * groups; };
  const auto write = [&](int64_t segment, Segment ids, WeightedSum<width> sum) {
    const float scale = scale_of(denominator, ids.end - ids.begin, sum.weights);
    for (float& value : sum.embeddings.value) value *= scale;
    if (lane >> shift == 0 && column < lookup.dim)
      store_floats(out.values + segment * out.stride + first_column + column, sum.embeddings);
  };
  const auto sum_of_warp = [&](Segment ids, int group, int of_groups) {
    WeightedSum<width> sum = sum_ids<width>(lookup, weights, ids, group, of_groups, column);
    add_groups(sum.embeddings, shift);
    for (int distance = 1 << shift; distance < 32; distance *= 2)
      sum.weights += __shfl_xor_sync(~0u, sum.weights, distance);
    return sum;
  };
  if ((int64_t(blockIdx.y) * width << shift) >= lookup.dim) return;
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

// Combines some features, as many as a launch takes.
template <int width>
int combine(const char* op, Features& features, int64_t count, Out out, recis_stream_t stream) {
  int64_t segments = 0;
  unsigned slices = 1;
  for (int64_t i = 0; i < count; ++i) {
    const recis_lookup& lookup = features.feature[i].lookup;
    features.shift[i] = group_shift(lookup.dim, width);
    segments = std::max(segments, lookup.segments);
    slices = std::max(slices, slices_of(lookup.dim, width, features.shift[i]));
  }
  if (segments == 0) return RECIS_OK;
  // A block to each segment as long as that does not make more blocks than can run at once.
  const int64_t share = segments * count / (132 * 8) + 1, per_block = std::min<int64_t>(share, 8);
  const dim3 grid(blocks_for((segments + per_block - 1) / per_block * kThreads), slices, unsigned(count));
  return launch(op, combine_kernel<width>, grid, kThreads, 0, stream, features, out, int(per_block));
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

Scratch scratch_of(Workspace& workspace, const recis_combined_gradient& gradient) {
  Scratch scratch;
  scratch.sum = sum_scratch(workspace, gradient.feature.lookup, gradient.occurrences);
  scratch.scales = workspace.take<float>(gradient.feature.lookup.segments);
  return scratch;
}

// What both passes take.
int require_combined(const recis_combined& feature, const float* out, int64_t out_stride, const char* op,
                     const char* name) {
  const auto& [lookup, weights, denominator, first_column] = feature;
  if (int status = require_lookup(&lookup, op)) return status;
  const bool known = denominator >= RECIS_ONE && denominator <= RECIS_COUNT;
  return first_of(require_array(weights, 0, op, "weights"), require(known, op, "denominator", "is unknown"),
                  require_columns(out, lookup.segments, first_column, lookup.dim, out_stride, op, name));
}

// Without weights each counts as 1.
recis_denominator denominator_of(const recis_combined& feature) {
  return !feature.weights && feature.denominator == RECIS_WEIGHTS ? RECIS_COUNT : feature.denominator;
}

}  // namespace
}  // namespace recis

extern "C" int recis_combine_forward(const recis_combined* features, int64_t feature_count, float* out,
                                     int64_t out_stride, recis_stream_t stream) {
  using namespace recis;
  const char* op = "combine.forward";
  if (int status = first_of(require(feature_count >= 0, op, "feature_count", "is negative"),
                            require(features || feature_count <= 0, op, "features", "is null")))
    return status;
  for (int64_t i = 0; i < feature_count; ++i) {
    const recis_combined& feature = features[i];
    if (int status = require_combined(feature, out, out_stride, op, "out")) return status;
    bool apart = true;
    for (const recis_combined* other = features; other != &feature; ++other)
      apart = apart && (feature.first_column >= other->first_column + other->lookup.dim ||
                        other->first_column >= feature.first_column + feature.lookup.dim);
    if (int status = require(apart, op, "the features", "overlap")) return status;
  }
  // Apart by how they are moved: the order of a feature's sums must not depend on who is beside it.
  int status = RECIS_OK;
  for (const bool wide : {true, false}) {
    Features now{};
    int64_t count = 0;
    const auto run = [&] {
      const auto launch = wide ? combine<4> : combine<1>;
      status = first_of(status, launch(op, now, std::exchange(count, 0), Out{out, out_stride}, stream));
    };
    for (int64_t i = 0; i < feature_count; ++i) {
      const recis_combined& feature = features[i];
      if (columns_are_wide(feature.lookup.dim, feature.first_column, out_stride) != wide) continue;
      now.feature[count] = feature;
      now.feature[count++].denominator = denominator_of(feature);
      if (count == kMostFeatures) run();
    }
    if (count > 0) run();
  }
  return status;
}

extern "C" int recis_combine_backward_workspace_size(const recis_combined_gradient* gradients,
                                                     int64_t gradient_count, size_t* bytes) {
  using namespace recis;
  const char* op = "combine.backward_workspace_size";
  if (int status = first_of(require(gradient_count >= 0, op, "gradient_count", "is negative"),
                            require(gradients || gradient_count <= 0, op, "gradients", "is null"),
                            require(bytes, op, "bytes", "is null")))
    return status;
  Workspace workspace;
  for (const recis_combined_gradient* gradient = gradients; gradient != gradients + gradient_count; ++gradient) {
    const recis_lookup& lookup = gradient->feature.lookup;
    if (int status = require_lookup(&lookup, op)) return status;
    if (int status = require_occurrences(&gradient->occurrences, lookup, op)) return status;
    scratch_of(workspace, *gradient);
  }
  *bytes = workspace.bytes();
  return RECIS_OK;
}

extern "C" int recis_combine_backward(const recis_combined_gradient* gradients, int64_t gradient_count,
                                      void* workspace, size_t workspace_bytes, recis_stream_t stream) {
  using namespace recis;
  const char* op = "combine.backward";
  if (int status = first_of(require(gradient_count >= 0, op, "gradient_count", "is negative"),
                            require(gradients || gradient_count <= 0, op, "gradients", "is null")))
    return status;
  Workspace needed, cut(workspace);
  for (const recis_combined_gradient* gradient = gradients; gradient != gradients + gradient_count; ++gradient) {
    const auto& [feature, occurrences, d_out, out_stride, d_embeddings] = *gradient;
    if (int status = require_combined(feature, d_out, out_stride, op, "d_out")) return status;
    if (int status = first_of(require_occurrences(&occurrences, feature.lookup, op),
                              require_array(d_embeddings, feature.lookup.unique, op, "d_embeddings")))
      return status;
    scratch_of(needed, *gradient);
  }
  if (int status = require_workspace(workspace, workspace_bytes, needed.bytes(), op)) return status;

  SumsById<Source> sums(op, stream);
  for (const recis_combined_gradient* gradient = gradients; gradient != gradients + gradient_count; ++gradient) {
    const auto& [feature, occurrences, d_out, out_stride, d_embeddings] = *gradient;
    const recis_lookup& lookup = feature.lookup;
    const Scratch scratch = scratch_of(cut, *gradient);
    if (lookup.segments == 0 || lookup.capacity == 0 || lookup.unique == 0) continue;
    const recis_denominator denominator = denominator_of(feature);
    const bool by_weights = denominator == RECIS_WEIGHTS;
    if (by_weights)
      if (int status = launch(op, scales_kernel, blocks_for(lookup.segments * 32), kThreads, 0, stream, lookup,
                              feature.weights, scratch.scales))
        return status;
    const Source source{d_out + feature.first_column, out_stride, feature.weights,
                        by_weights ? scratch.scales : nullptr, denominator};
    const bool wide = columns_are_wide(lookup.dim, feature.first_column, out_stride);
    if (int status = sums.add(lookup, occurrences, source, wide, scratch.sum, d_embeddings)) return status;
  }
  return sums.finish();
}
