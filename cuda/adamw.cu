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

__device__ __forceinline__ void update(float& p, float& m, float& v, float gradient,
                                       const Coefficients& c) {
  const float g = gradient * c.scale;
  m += (g - m) * c.rest1;
  v = c.beta2 * v + c.rest2 * g * g;
  p = p * c.decay - c.step_size * (m / (sqrtf(v) * c.correction + c.eps));
}

__global__ void __launch_bounds__(kThreads) adamw_kernel(Parameters parameters, Coefficients c) {
  wait_for_stream();
  using Floats = Pack<float>;
  const int64_t chunks = parameters.begin[parameters.count];
  for (int64_t chunk = blockIdx.x; chunk < chunks; chunk += gridDim.x) {
    const uint32_t which = range_of(parameters.begin, parameters.count, chunk);
    const auto [value, exp_avg, exp_avg_sq, gradient, count] = parameters.parameter[which];
    const int64_t first = (chunk - parameters.begin[which]) * kChunk, end = min(count, first + kChunk);
    const int64_t packs = end / Floats::size, i = first / Floats::size + threadIdx.x;
    if (i < packs) {
      Floats p = load(value, i), m = load(exp_avg, i), v = load(exp_avg_sq, i), g = load(gradient, i);
      for (int k = 0; k < Floats::size; ++k) update(p.value[k], m.value[k], v.value[k], g.value[k], c);
      store(value, i, p);
      store(exp_avg, i, m);
      store(exp_avg_sq, i, v);
    }
    // Behind the last pack of a parameter.
    const int64_t rest = packs * Floats::size + threadIdx.x;
    if (rest < end) update(value[rest], exp_avg[rest], exp_avg_sq[rest], gradient[rest], c);
  }
}

int require_parameter(const recis_adamw_parameter& parameter, int64_t place, const char* op) {
  const auto require_field = [&](const void* pointer, const char* field) {
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
    // As many as keep memory busy and are there at once: blocks that wait for room keep out those of kernels that
    // run beside.
    constexpr int64_t kBlocks = 132 * 4;
    const unsigned blocks = blocks_for(now.begin[now.count] * kThreads, kBlocks);
    if (int status = launch(op, adamw_kernel, blocks, kThreads, 0, stream, now, coefficients)) return status;
  }
  return RECIS_OK;
}
