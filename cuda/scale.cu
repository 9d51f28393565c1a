// Multiplication by a number.
#include "elementwise.cuh"

namespace {
struct Scale {
  float factor;
  __device__ float operator()(float value) const { return value * factor; }
};
}  // namespace

extern "C" int recis_scale_forward(float* values, int64_t count, float factor, recis_stream_t stream) {
  return recis::map<float>("scale.forward", values, count, values, Scale{factor}, stream);
}
