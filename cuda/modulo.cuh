// Remainders of ids.
#pragma once

#include "common.cuh"

namespace recis {

// A division by multiplication with the inverse (Barrett), which is cut off: the quotient is too small by one at most.
struct Modulo {
  uint64_t modulus, inverse;  // (2^64 - 1) / modulus

  __host__ explicit Modulo(uint64_t by) : modulus(by), inverse(UINT64_MAX / by) {}
  __device__ int64_t operator()(int64_t id) const {
    const uint64_t rest = uint64_t(id) - __umul64hi(uint64_t(id), inverse) * modulus;
    return int64_t(rest - (rest >= modulus ? modulus : 0));
  }
};

struct Same {
  template <class T>
  __device__ T operator()(T value) const {
    return value;
  }
};

// What `run` makes of the function that takes remainders, or, if the modulus is 0, leaves ids as they are.
template <class Run>
auto with_modulus(uint64_t modulus, Run run) {
  return modulus > 0 ? run(Modulo(modulus)) : run(Same());
}

}  // namespace recis
