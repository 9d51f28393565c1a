// Remainders of ids.
#include "elementwise.cuh"

namespace {
// A division by multiplication with the inverse (Barrett), which is cut off: the quotient is too small by one at most.
struct Modulo {
  uint64_t modulus, inverse;  // (2^64 - 1) / modulus
  __device__ int64_t operator()(int64_t id) const {
    const uint64_t rest = uint64_t(id) - __umul64hi(uint64_t(id), inverse) * modulus;
    return int64_t(rest - (rest >= modulus ? modulus : 0));
  }
};
}  // namespace

extern "C" int recis_modulo_forward(const int64_t* values, int64_t count, uint64_t modulus, int64_t* out,
                                    recis_stream_t stream) {
  const char* op = "modulo.forward";
  if (int status = recis::require(modulus > 0, op, "the modulus", "is 0")) return status;
  return recis::map(op, values, count, out, Modulo{modulus, UINT64_MAX / modulus}, stream);
}
