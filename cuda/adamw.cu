// Adam with decoupled weight decay, dense parameters.
#include "elementwise.cuh"

namespace recis {
namespace {

struct Coefficients {
  float decay, step_size, rest1, beta2, rest2, correction, eps;
};

__device__ __forceinline__ void update(float& p, float& m, float& v, float g, const Coefficients& c) {
  m += (g - m) * c.rest1;
  v = c.beta2 * v + c.rest2 * g * g;
  p = p * c.decay - c.step_size * (m / (sqrtf(v) * c.correction + c.eps));
}

__global__ void __launch_bounds__(kThreads)
    adamw_kernel(float* parameter, float* exp_avg, float* exp_avg_sq, const float* gradient, int64_t count,
                 Coefficients c) {
  wait_for_stream();
  using Floats = Pack<float>;
  for_each_pack<Floats::size>(
      count,
      [&](int64_t i) {
        Floats p = load(parameter, i), m = load(exp_avg, i), v = load(exp_avg_sq, i), g = load(gradient, i);
        for (int k = 0; k < Floats::size; ++k) update(p.value[k], m.value[k], v.value[k], g.value[k], c);
        store(parameter, i, p);
        store(exp_avg, i, m);
        store(exp_avg_sq, i, v);
      },
      [&](int64_t i) { update(parameter[i], exp_avg[i], exp_avg_sq[i], gradient[i], c); });
}

}  // namespace
}  // namespace recis

extern "C" int recis_adamw_step(float* parameter, float* exp_avg, float* exp_avg_sq, const float* gradient,
                                int64_t count, float decay, float step_size, float rest1, float beta2,
                                float rest2, float correction, float eps, recis_stream_t stream) {
  using namespace recis;
  const char* op = "adamw.step";
  if (int status = first_of(require_array(parameter, count, op, "parameter"),
                            require_array(exp_avg, count, op, "exp_avg"),
                            require_array(exp_avg_sq, count, op, "exp_avg_sq"),
                            require_array(gradient, count, op, "gradient")))
    return status;
  if (count == 0) return RECIS_OK;
  const Coefficients coefficients{decay, step_size, rest1, beta2, rest2, correction, eps};
  const unsigned blocks = blocks_for(count / Pack<float>::size);
  return launch(op, adamw_kernel, blocks, kThreads, 0, stream, parameter, exp_avg, exp_avg_sq, gradient, count,
                coefficients);
}
