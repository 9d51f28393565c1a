// The logistic function.
#include "elementwise.cuh"

namespace {
struct Forward {
  __device__ float operator()(float x) const { return 1.0f / (1.0f + expf(-x)); }
};
struct Backward {
  __device__ float operator()(float y, float d_y) const { return d_y * (y * (1.0f - y)); }
};
}  // namespace

extern "C" int recis_sigmoid_forward(const float* x, int64_t count, float* y, recis_stream_t stream) {
  return recis::map("sigmoid.forward", x, count, y, Forward{}, stream);
}

extern "C" int recis_sigmoid_backward(const float* y, const float* d_y, int64_t count, float* d_x,
                                      recis_stream_t stream) {
  return recis::zip("sigmoid.backward", y, d_y, count, d_x, Backward{}, stream);
}
