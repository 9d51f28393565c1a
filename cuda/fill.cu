// One value in the first rows of a matrix.
#include "elementwise.cuh"

namespace recis {
namespace {

__global__ void __launch_bounds__(kThreads)
    fill_kernel(float* values, int64_t width, int64_t capacity, const uint32_t* count, float value) {
  wait_for_stream();
  for_each_pack<Pack<float>::size>(
      bounded(count, capacity) * width,
      [&](int64_t i) { store(values, i, Pack<float>{{value, value, value, value}}); },
      [&](int64_t i) { values[i] = value; });
}

}  // namespace
}  // namespace recis

extern "C" int recis_fill_forward(float* values, int64_t width, int64_t capacity, const uint32_t* count,
                                  float value, recis_stream_t stream) {
  using namespace recis;
  const char* op = "fill.forward";
  if (int status = first_of(require(width >= 0, op, "width", "is negative"),
                            require_array(values, capacity, op, "values"),
                            require_array(count, 0, op, "count")))
    return status;
  if (capacity == 0 || width == 0) return RECIS_OK;
  const unsigned blocks = blocks_for(capacity * width / Pack<float>::size);
  return launch(op, fill_kernel, blocks, kThreads, 0, stream, values, width, capacity, count, value);
}
