// Factors of a product as numbers of 16 bits, which Hopper's tensor cores multiply twice as fast as TF32.
//
// A number x is kept as one part or as the sum of two: high = x s rounded, low = x s - high rounded, with a
// scale s, a power of two, for a whole patch of the matrix, chosen so that its largest number becomes 2^14 to
// 2^15. Two parts of half floats have 22 bits of every number down to 2^-17 of the patch's largest, and one
// bit less with every halving below. One part has 11 bits (half floats, as TF32) or 8 (bfloat16).
#pragma once

#include "ptx.cuh"

namespace recis {

// Parts of a number, and how deep a step of a product is: its operands have as many bytes either way.
template <recis_precision precision>
struct Format {
  static constexpr bool kBfloat = precision == RECIS_BF16;
  static constexpr int kParts = precision == RECIS_FP32 ? 2 : 1;
  static constexpr int kStep = 64 / kParts;
};

// Eight neighbours in one part. Behind a unit come the same numbers' other parts, then the next eight.
struct alignas(16) Unit {
  uint32_t pairs[4];
};
constexpr int kUnit = 8;

// The scale for numbers of which the largest is so large; of nothing but zeros the largest of all scales, so that
// it is no measure of how large others are.
__device__ __forceinline__ float scale_for(float largest) {
  constexpr int kBias = 127, kTop = 14, kLeast = -113, kMost = 100;
  const int exponent = int(__float_as_uint(largest) >> 23) - kBias;
  const int up = largest > 0 ? min(max(kTop - exponent, kLeast), kMost) : kMost;
  return __uint_as_float(uint32_t(up + kBias) << 23);
}

// Takes both factors' scales out of a product. Finite, so that a zero stays one.
__device__ __forceinline__ float unscale_of(float a, float b) { return min(a * b, 3.402823466e38f); }

// What a scale is chosen by: not by infinities and NaN.
constexpr uint32_t kInfinityBits = 0x7f800000u;
__device__ __forceinline__ float size_of(float x) {
  const uint32_t bits = __float_as_uint(x) & 0x7fffffffu;
  return bits < kInfinityBits ? __uint_as_float(bits) : 0.0f;
}

// The largest of the block's. All threads call it.
__device__ __forceinline__ float largest_of_block(float mine) {
  __shared__ float of_warp[kThreads / 32];
  for (int distance = 16; distance > 0; distance /= 2) mine = max(mine, __shfl_xor_sync(~0u, mine, distance));
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = mine;
  __syncthreads();
  for (const float other : of_warp) mine = max(mine, other);
  return mine;
}

// The parts of eight numbers.
template <class F>
__device__ __forceinline__ void split(const Pack<float> (&x)[2], float scale, Unit (&parts)[F::kParts]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float first = x[i / 2].value[i % 2 * 2] * scale, second = x[i / 2].value[i % 2 * 2 + 1] * scale;
    if constexpr (F::kBfloat) {
      parts[0].pairs[i] = to_bf16(first, second);
    } else {
      parts[0].pairs[i] = to_half(first, second);
      if constexpr (F::kParts == 2) {
        const float2 high = from_half(parts[0].pairs[i]);
        parts[1].pairs[i] = to_half(first - high.x, second - high.y);
      }
    }
  }
}

}  // namespace recis
