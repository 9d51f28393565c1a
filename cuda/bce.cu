// Binary cross-entropy of probabilities, and its gradient.
#include "bce.cuh"
#include "unfit.cuh"

namespace recis {
namespace {

constexpr int kBlock = 1024;

// One block, so that the sum has one order: a batch is a few predictions a thread.
__global__ void __launch_bounds__(kBlock)
    bce_kernel(const float* prediction, const float* label, int64_t count, float* loss, float* d_prediction,
               uint64_t* unfit) {
  wait_for_stream();
  __shared__ double sums[kBlock / 32];
  const float rows = float(count);
  double sum = 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < count; i += kBlock) {
    const float p = prediction[i], y = label[i];
    if (!(p >= 0.0f && p <= 1.0f)) report_unfit(unfit, i, p);
    sum += double(bce_loss(p, y));
    if (d_prediction) d_prediction[i] = bce_gradient(p, y, rows);
  }
  for (int apart = 16; apart > 0; apart /= 2) sum += __shfl_down_sync(~0u, sum, apart);
  const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32;
  if (lane == 0) sums[warp] = sum;
  __syncthreads();
  if (warp != 0) return;
  sum = sums[lane];
  for (int apart = 16; apart > 0; apart /= 2) sum += __shfl_down_sync(~0u, sum, apart);
  if (lane == 0) loss[0] = float(sum / double(count));
}

}  // namespace
}  // namespace recis

extern "C" int recis_bce_forward(const float* prediction, const float* label, int64_t count, float* loss,
                                 float* d_prediction, uint64_t* unfit, recis_stream_t stream) {
  using namespace recis;
  const char* op = "bce.forward";
  if (int status = first_of(require(count >= 1, op, "count", "is below 1"),
                            require_reportable(count, op, "count"),
                            require_array(prediction, count, op, "prediction"),
                            require_array(label, count, op, "label"), require_array(loss, 1, op, "loss"),
                            require_array(d_prediction, 0, op, "d_prediction"),
                            require_array(unfit, 1, op, "unfit")))
    return status;
  return launch(op, bce_kernel, 1, kBlock, 0, stream, prediction, label, count, loss, d_prediction, unfit);
}
