// Adam on the rows that a step has touched.
#include "lanes.cuh"
#include "rows.cuh"

namespace recis {
namespace {

struct Coefficients {
  float alpha, decay, beta1, beta2, eps;
};

// Every operation rounds by itself: the bits are then RecIS's, on every device.
__device__ __forceinline__ void update(float& e, float& m, float& v, float g, const Coefficients& c) {
  const float rest1 = __fsub_rn(1.0f, c.beta1), rest2 = __fsub_rn(1.0f, c.beta2);
  m = __fadd_rn(__fmul_rn(m, c.beta1), __fmul_rn(g, rest1));
  v = __fadd_rn(__fmul_rn(v, c.beta2), __fmul_rn(__fmul_rn(rest2, g), g));
  const float change = __fdiv_rn(m, __fadd_rn(__fsqrt_rn(v), c.eps));
  e = __fadd_rn(__fmul_rn(e, c.decay), __fmul_rn(c.alpha, change));
}

template <int width>
__global__ void __launch_bounds__(kThreads)
    sparse_adamw_kernel(recis_rows storage, const uint32_t* rows, int64_t capacity, const uint32_t* count,
                        const float* gradients, int shift, Coefficients coefficients) {
  wait_for_stream();
  const int64_t rows_there = bounded(count, capacity), dim = storage.dim;
  for (int64_t i = grid_thread() >> shift; i < rows_there; i += grid_threads() >> shift) {
    const uint32_t row = rows[i];
    if (row >= storage.bound) continue;
    float* embedding = storage.storage + row * storage.stride;
    for (int64_t c = lane_column<width>(shift); c < dim; c += int64_t(width) << shift) {
      const Floats<width> g = load_floats<width>(gradients + i * dim + c);
      Floats<width> e = load_floats<width>(embedding + c), m = load_floats<width>(embedding + dim + c),
                    v = load_floats<width>(embedding + 2 * dim + c);
#pragma unroll
      for (int k = 0; k < width; ++k) update(e.value[k], m.value[k], v.value[k], g.value[k], coefficients);
      store_floats(embedding + c, e);
      store_floats(embedding + dim + c, m);
      store_floats(embedding + 2 * dim + c, v);
    }
  }
}

}  // namespace
}  // namespace recis

extern "C" int recis_sparse_adamw_step(const recis_rows* storage, const uint32_t* rows, int64_t capacity,
                                       const uint32_t* count, const float* gradients, float alpha,
                                       float decay, float beta1, float beta2, float eps,
                                       recis_stream_t stream) {
  using namespace recis;
  const char* op = "sparse_adamw.step";
  if (int status = first_of(require_rows(storage, op),
                            require_row_arrays(rows, gradients, capacity, count, op, "gradients")))
    return status;
  if (int status = require(storage->stride == 3 * storage->dim, op, "stride", "is not 3 dim")) return status;
  if (capacity == 0) return RECIS_OK;
  const bool wide = storage->dim % 4 == 0;
  const int shift = group_shift(storage->dim, wide ? 4 : 1);
  return launch(op, wide ? sparse_adamw_kernel<4> : sparse_adamw_kernel<1>, blocks_for(capacity << shift),
                kThreads, 0, stream, *storage, rows, capacity, count, gradients, shift,
                Coefficients{alpha, decay, beta1, beta2, eps});
}
