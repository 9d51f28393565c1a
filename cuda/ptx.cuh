// What the tensor cores are told, for which CUDA C++ has no functions; each with a twin on the host.
#pragma once

#include "common.cuh"

namespace recis {

// x as TF32, rounded to 10 bits of fraction, ties away from zero.
__device__ __forceinline__ uint32_t to_tf32(float x) {
#ifdef RECIS_SIMT
  const uint32_t bits = __float_as_uint(x);
  return x - x == 0 ? (bits + 0x1000u) & 0xffffe000u : bits;
#else
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
#endif
}

// Two numbers as bfloat16, rounded to 7 bits of fraction, ties to even; `low` in the low half.
__device__ __forceinline__ uint32_t to_bf16(float low, float high) {
#ifdef RECIS_SIMT
  const auto round = [](float x) {
    const uint32_t bits = __float_as_uint(x);
    return x == x ? (bits + 0x7fffu + (bits >> 16 & 1)) >> 16 : 0x7fffu;
  };
  return round(high) << 16 | round(low);
#else
  uint32_t bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
#endif
}

// sum += a b for 16 x 8 sums, spread over a warp as PTX's mma.m16n8k8 has it: of the lane 4 g + t,
//   sum = (g, 2t) (g, 2t + 1) (g + 8, 2t) (g + 8, 2t + 1)      [row of a, column of b]
//   a = (g, t) (g + 8, t) (g, t + 4) (g + 8, t + 4)            [row, k]
//   b = (t, g) (t + 4, g)                                      [k, column]
__device__ __forceinline__ void mma_tf32(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifdef RECIS_SIMT
  simt::multiply_tf32(sum, a, b);
#else
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// The same for 16 k as bfloat16, two in a register: k = 2t, 2t + 1 where mma_tf32 has t, and 2t + 8, 2t + 9
// where it has t + 4.
__device__ __forceinline__ void mma_bf16(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifdef RECIS_SIMT
  simt::multiply_bf16(sum, a, b);
#else
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

}  // namespace recis
