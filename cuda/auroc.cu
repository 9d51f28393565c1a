// Counts at thresholds.
#include "common.cuh"

namespace recis {
namespace {

constexpr int64_t kMaxThresholds = 4096;

// How many ascending thresholds a prediction is above; for NaN, none.
__device__ __forceinline__ int thresholds_below(float prediction, const float* thresholds, int count) {
  int first = 0, last = count;
  while (first < last) {
    const int middle = (first + last) / 2;
    if (prediction > __ldg(&thresholds[middle])) first = middle + 1;
    else last = middle;
  }
  return first;
}

// The sum of the values of the threads behind this one, of two numbers at once.
__device__ __forceinline__ uint2 sum_behind(uint2 own) {
  __shared__ uint2 totals[kThreads / 32];
  const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32;
  uint2 sum = own;
  for (int apart = 1; apart < 32; apart *= 2) {
    const unsigned x = __shfl_down_sync(~0u, sum.x, apart), y = __shfl_down_sync(~0u, sum.y, apart);
    if (lane + apart < 32) {
      sum.x += x;
      sum.y += y;
    }
  }
  if (lane == 0) totals[warp] = sum;
  __syncthreads();
  for (int behind = warp + 1; behind < kThreads / 32; ++behind) {
    sum.x += totals[behind].x;
    sum.y += totals[behind].y;
  }
  return {sum.x - own.x, sum.y - own.y};
}

__device__ __forceinline__ void add(int64_t* count, unsigned more) {
  if (more) atomicAdd(reinterpret_cast<unsigned long long*>(count), static_cast<unsigned long long>(more));
}

// Each block counts how many of its predictions are above exactly i thresholds, sums them up from
// above, and adds that to all counts.
__global__ void __launch_bounds__(kThreads)
    auroc_kernel(const float* prediction, const float* label, int64_t count, const float* thresholds,
                 int threshold_count, int64_t* counts) {
  wait_for_stream();
  unsigned* const positive = dynamic_shared<unsigned>();  // [threshold_count + 1]
  unsigned* const negative = positive + threshold_count + 1;
  for (int i = threadIdx.x; i < 2 * (threshold_count + 1); i += kThreads) positive[i] = 0;
  __syncthreads();
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const int above = thresholds_below(prediction[i], thresholds, threshold_count);
    atomicAdd(&(label[i] == 0.0f ? negative : positive)[above], 1u);
  }
  __syncthreads();

  // A thread sums up neighbours, from those above the threshold `first`.
  const int each = (threshold_count + kThreads - 1) / kThreads, first = int(threadIdx.x) * each;
  const int last = min(first + each, threshold_count);
  uint2 own{0, 0};
  for (int i = first; i < last; ++i) {
    own.x += positive[i + 1];
    own.y += negative[i + 1];
  }
  uint2 above = sum_behind(own);
  // All predictions: those above the first threshold, and the rest.
  __shared__ uint2 all;
  if (threadIdx.x == 0) all = {above.x + own.x + positive[0], above.y + own.y + negative[0]};
  __syncthreads();
  for (int i = last - 1; i >= first; --i) {
    above.x += positive[i + 1];
    above.y += negative[i + 1];
    add(counts + i, above.x);
    add(counts + threshold_count + i, above.y);
    add(counts + 2 * threshold_count + i, all.y - above.y);
    add(counts + 3 * threshold_count + i, all.x - above.x);
  }
}

}  // namespace
}  // namespace recis

extern "C" int recis_auroc_update(const float* prediction, const float* label, int64_t count,
                                  const float* thresholds, int64_t threshold_count, int64_t* counts,
                                  recis_stream_t stream) {
  using namespace recis;
  const char* op = "auroc.update";
  if (int status = first_of(require_array(prediction, count, op, "prediction"),
                            require_array(label, count, op, "label"),
                            require(threshold_count <= kMaxThresholds, op, "threshold_count", "is above 4096"),
                            require_array(thresholds, threshold_count, op, "thresholds"),
                            require_array(counts, threshold_count, op, "counts")))
    return status;
  if (count == 0 || threshold_count == 0) return RECIS_OK;
  // Blocks add to all counts: few predictions are not worth it.
  const unsigned blocks = blocks_for((count + 7) / 8, 132);
  const size_t bytes = 2 * size_t(threshold_count + 1) * sizeof(unsigned);
  return launch(op, auroc_kernel, blocks, kThreads, bytes, stream, prediction, label, count, thresholds,
                int(threshold_count), counts);
}
