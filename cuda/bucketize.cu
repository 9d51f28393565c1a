// Which interval between boundaries a value lies in.
#include "common.cuh"

namespace recis {
namespace {

__global__ void __launch_bounds__(kThreads)
    bucketize_kernel(const float* values, int64_t count, const float* boundaries, int64_t boundary_count,
                     int64_t* out) {
  wait_for_stream();
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const float value = values[i];
    int64_t first = 0, last = boundary_count;
    while (first < last) {
      const int64_t middle = first + (last - first) / 2;
      // NaN is below no boundary.
      if (value < __ldg(&boundaries[middle])) last = middle;
      else first = middle + 1;
    }
    out[i] = first;
  }
}

}  // namespace
}  // namespace recis

extern "C" int recis_bucketize_forward(const float* values, int64_t count, const float* boundaries,
                                       int64_t boundary_count, int64_t* out, recis_stream_t stream) {
  using namespace recis;
  const char* op = "bucketize.forward";
  if (int status = first_of(require_array(values, count, op, "values"),
                            require_array(boundaries, boundary_count, op, "boundaries"),
                            require_array(out, count, op, "out")))
    return status;
  if (count == 0) return RECIS_OK;
  return launch(op, bucketize_kernel, blocks_for(count), kThreads, 0, stream, values, count, boundaries,
                boundary_count, out);
}
