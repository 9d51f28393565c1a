// From random words to distributions.
//
// Only + - * / and square roots in f64, each rounded by itself: the same bits on every device. Library
// logarithms differ from one to the next, and fused multiply-adds round once where others round twice.
#pragma once

#include "common.cuh"

namespace recis {

// c0 + c1 x + ... + c7 x^7.
struct Polynomial {
  double c[8];
  __device__ __forceinline__ double operator()(double x) const {
    double sum = c[7];
#pragma unroll
    for (int k = 6; k >= 0; --k) sum = __dadd_rn(__dmul_rn(sum, x), c[k]);
    return sum;
  }
};

// The natural logarithm of a positive normal number, by ln(m 2^e) = 2 atanh((m-1)/(m+1)) + e ln 2.
__device__ __forceinline__ double natural_logarithm(double x) {
  constexpr int64_t fraction = (int64_t(1) << 52) - 1, one = int64_t(1023) << 52;
  const int64_t bits = __double_as_longlong(x);
  int64_t exponent = (bits >> 52) - 1023;
  double mantissa = __longlong_as_double((bits & fraction) | one);
  if (mantissa > 1.41421356237309504880) {
    mantissa = __dmul_rn(mantissa, 0.5);
    ++exponent;
  }
  const double z = __ddiv_rn(__dadd_rn(mantissa, -1.0), __dadd_rn(mantissa, 1.0));
  const double square = __dmul_rn(z, z);
  // z is at most 0.172: the first term left out is below 1e-17.
  double sum = 0.0;
#pragma unroll
  for (int k = 10; k >= 0; --k) sum = __dadd_rn(__dmul_rn(sum, square), 1.0 / (2 * k + 1));
  return __dadd_rn(__dmul_rn(__dmul_rn(2.0, z), sum), __dmul_rn(double(exponent), 0.693147180559945309417));
}

// The quantile of the standard normal distribution: Wichura's AS 241, PPND16, accurate to about 1e-16.
// 0 and 1 give infinities.
__device__ inline double probit(double p) {
  const double q = __dadd_rn(p, -0.5);
  if (fabs(q) <= 0.425) {
    constexpr Polynomial a{{3.3871328727963665, 133.14166789178438, 1971.5909503065513, 13731.69376550946,
                            45921.95393154987, 67265.7709270087, 33430.57558358813, 2509.0809287301227}};
    constexpr Polynomial b{{1.0, 42.31333070160091, 687.1870074920579, 5394.196021424751, 21213.794301586597,
                            39307.89580009271, 28729.085735721943, 5226.495278852854}};
    const double r = __dadd_rn(0.180625, -__dmul_rn(q, q));
    return __ddiv_rn(__dmul_rn(q, a(r)), b(r));
  }
  const double tail = q < 0.0 ? p : __dadd_rn(1.0, -p);
  double value;
  if (tail <= 0.0) {
    value = __longlong_as_double(int64_t(0x7ff) << 52);
  } else {
    const double r = __dsqrt_rn(-natural_logarithm(tail));
    if (r <= 5.0) {
      constexpr Polynomial a{{1.4234371107496835, 4.630337846156546, 5.769497221460691, 3.6478483247632045,
                              1.2704582524523684, 0.2417807251774506, 0.022723844989269184,
                              7.745450142783414e-4}};
      constexpr Polynomial b{{1.0, 2.053191626637759, 1.6763848301838038, 0.6897673349851,
                              0.14810397642748008, 0.015198666563616457, 5.475938084995345e-4,
                              1.0507500716444169e-9}};
      const double x = __dadd_rn(r, -1.6);
      value = __ddiv_rn(a(x), b(x));
    } else {
      constexpr Polynomial a{{6.657904643501103, 5.463784911164114, 1.7848265399172913, 0.29656057182850487,
                              0.026532189526576124, 1.2426609473880784e-3, 2.7115555687434876e-5,
                              2.0103343992922881e-7}};
      constexpr Polynomial b{{1.0, 0.599832206555888, 0.1369298809227358, 0.014875361290850615,
                              7.868691311456133e-4, 1.8463183175100548e-5, 1.421511758316446e-7,
                              2.0442631033899398e-15}};
      const double x = __dadd_rn(r, -5.0);
      value = __ddiv_rn(a(x), b(x));
    }
  }
  return q < 0.0 ? -value : value;
}

// The value of a distribution that a random word stands for.
struct Quantile {
  recis_initializer of;

  __device__ __forceinline__ float operator()(uint32_t word) const {
    if (of.distribution == RECIS_CONSTANT) return float(of.a);
    // Exact: half a unit more than a word of 32 bits, over 2^32.
    const double q = __dmul_rn(__dadd_rn(double(word), 0.5), 1.0 / 4294967296.0);
    if (of.distribution == RECIS_UNIFORM)
      return float(__dadd_rn(of.a, __dmul_rn(__dadd_rn(of.b, -of.a), q)));
    const bool cut = of.distribution == RECIS_TRUNC_NORMAL;
    const double p = cut ? __dadd_rn(of.lower_q, __dmul_rn(q, __dadd_rn(of.upper_q, -of.lower_q))) : q;
    const double x = __dadd_rn(of.a, __dmul_rn(of.b, probit(p)));
    return float(cut && x < of.lower ? of.lower : cut && x > of.upper ? of.upper : x);
  }
};

}  // namespace recis
