// Adam with decoupled weight decay, dense parameters: all of them in one launch, for most are small.
#include "elementwise.cuh"

#include <cstdio>

namespace recis {
namespace {

// Fits, with the rest, the 4 KB that a launch can hand over.
constexpr int64_t kMostParameters = 64;

// Elements that a block takes at a time, all of one parameter: a pack a thread.
constexpr int64_t kChunk = kThreads * Pack<float>::size;

// The parameters of a launch, cut into chunks: parameter p begins with chunk begin[p].
struct Parameters {
  recis_adamw_parameter parameter[kMostParameters];
  int64_t begin[kMostParameters + 1];
  int64_t count;
};

struct Coefficients {
  float scale, decay, step_size, rest1, beta2, rest2, correction, eps;
};

__device__ __forceinline__ void update_moments(float& m, float& v, float gradient, const Coefficients& c) {
  const float g = gradient * c.scale;
  m += (g - m) * c.rest1;
  v = c.beta2 * v + c.rest2 * g * g;
}
__device__ __forceinline__ void update(float& p, float m, float v, const Coefficients& c) {
  p = p * c.decay - c.step_size * (m / (sqrtf(v) * c.correction + c.eps));
}

// A block has one chunk, and few registers: many fit beside kernels that leave little room. They fill a multiprocessor,
// which has 1536 threads or 2048.
#if defined(__CUDA_ARCH__) && \
    (__CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 870 || __CUDA_ARCH__ == 890 || __CUDA_ARCH__ >= 1200)
constexpr int kBlocksThatFill = 1536 / kThreads;
#else
constexpr int kBlocksThatFill = 2048 / kThreads;
#endif
__global__ void __launch_bounds__(kThreads, kBlocksThatFill)
    adamw_kernel(const Parameters parameters, const Coefficients c) {
  wait_for_stream();
  using Floats = Pack<float>;
  const uint32_t which = range_of(parameters.begin, parameters.count, int64_t(blockIdx.x));
  const recis_adamw_parameter& of = parameters.parameter[which];
  const int64_t first = (int64_t(blockIdx.x) - parameters.begin[which]) * kChunk;
  float *const value = of.value + first, *const exp_avg = of.exp_avg + first, *const exp_avg_sq = of.exp_avg_sq + first;
  const float* const gradient = of.gradient + first;
  const int count = int(min(of.count - first, kChunk)), packs = count / Floats::size, i = int(threadIdx.x);
  if (i < packs) {
    Floats p = load(value, i), m = load(exp_avg, i), v = load(exp_avg_sq, i), g = load(gradient, i);
    for (int k = 0; k < Floats::size; ++k) update_moments(m.value[k], v.value[k], g.value[k], c);
    store(exp_avg, i, m);
    store(exp_avg_sq, i, v);
    for (int k = 0; k < Floats::size; ++k) update(p.value[k], m.value[k], v.value[k], c);
    store(value, i, p);
  }
  // Behind the last pack of a parameter.
  const int rest = packs * Floats::size + i;
  if (rest < count) {
    update_moments(exp_avg[rest], exp_avg_sq[rest], gradient[rest], c);
    update(value[rest], exp_avg[rest], exp_avg_sq[rest], c);
  }
}

int require_parameter(const recis_adamw_parameter& parameter, int64_t place, const char* op) {
  const auto require_field = [&](const void* pointer, const char* field) -> int {
    if (!problem_of_array(pointer, parameter.count)) return RECIS_OK;
    char name[64];
    snprintf(name, sizeof(name), "parameters[%lld].%s", static_cast<long long>(place), field);
    return require_array(pointer, parameter.count, op, name);
  };
  return first_of(require_field(parameter.value, "value"), require_field(parameter.exp_avg, "exp_avg"),
                  require_field(parameter.exp_avg_sq, "exp_avg_sq"),
                  require_field(parameter.gradient, "gradient"));
}

}  // namespace
}  // namespace recis

extern "C" int recis_adamw_step(const recis_adamw_parameter* parameters, int64_t parameter_count, float scale,
                                float decay, float step_size, float rest1, float beta2, float rest2,
                                float correction, float eps, recis_stream_t stream) {
  using namespace recis;
  const char* op = "adamw.step";
  if (int status = first_of(require(parameter_count >= 0, op, "parameter_count", "is negative"),
                            require(parameters || parameter_count <= 0, op, "parameters", "is null")))
    return status;
  for (int64_t p = 0; p < parameter_count; ++p)
    if (int status = require_parameter(parameters[p], p, op)) return status;

  const Coefficients coefficients{scale, decay, step_size, rest1, beta2, rest2, correction, eps};
  for (int64_t next = 0; next < parameter_count;) {
    Parameters now{};
    for (; next < parameter_count && now.count < kMostParameters; ++next) {
      const recis_adamw_parameter& parameter = parameters[next];
      if (parameter.count == 0) continue;
      const int64_t chunks = (parameter.count - 1) / kChunk + 1;
      now.begin[now.count + 1] = now.begin[now.count] + chunks;
      now.parameter[now.count++] = parameter;
    }
    if (now.count == 0) continue;
    const unsigned blocks = unsigned(now.begin[now.count]);
    if (int status = launch(op, adamw_kernel, blocks, kThreads, 0, stream, now, coefficients)) return status;
  }
  return RECIS_OK;
}
