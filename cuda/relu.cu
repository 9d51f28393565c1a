// Rectification.
#include "elementwise.cuh"

namespace {
struct Forward {
  // NaN fails the comparison and is kept.
  __device__ float operator()(float x) const { return x < 0.0f ? 0.0f : x; }
};
struct Backward {
  __device__ float operator()(float y, float d_y) const { return y > 0.0f ? d_y : 0.0f; }
};
}  // namespace

extern "C" int recis_relu_forward(const float* x, int64_t count, float* y, recis_stream_t stream) {
  return recis::map("relu.forward", x, count, y, Forward{}, stream);
}

extern "C" int recis_relu_backward(const float* y, const float* d_y, int64_t count, float* d_x,
                                   recis_stream_t stream) {
  return recis::zip("relu.backward", y, d_y, count, d_x, Backward{}, stream);
}
