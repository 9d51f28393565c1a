// Instructions for which CUDA C++ has no functions: asynchronous copies, and the tensor cores'; each with a
// twin on the host.
#pragma once

#include "common.cuh"

// Instructions that only Hopper has.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define RECIS_WGMMA
#endif

namespace recis {

// Copies a number to shared memory, by and by, through no register: a thread may have many on their way.
__device__ __forceinline__ void copy_async(float* shared, const float* global) {
#ifdef RECIS_SIMT
  *shared = *global;
#else
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;\n" ::"r"(unsigned(__cvta_generic_to_shared(shared))),
               "l"(global)
               : "memory");
#endif
}

// Waits for this thread's copies.
__device__ __forceinline__ void copy_wait() {
#ifndef RECIS_SIMT
  asm volatile("cp.async.wait_all;\n" ::: "memory");
#endif
}

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

// Two numbers as half floats, 10 bits of fraction, ties to even; `low` in the low half. And back.
__device__ __forceinline__ uint32_t to_half(float low, float high) {
#ifdef RECIS_SIMT
  return simt::to_half(high) << 16 | simt::to_half(low);
#else
  uint32_t bits;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
#endif
}
__device__ __forceinline__ float2 from_half(uint32_t bits) {
#ifdef RECIS_SIMT
  return {simt::from_half(bits & 0xffffu), simt::from_half(bits >> 16)};
#else
  float2 values;
  asm("{\n.reg .b16 low, high;\nmov.b32 {low, high}, %2;\ncvt.f32.f16 %0, low;\ncvt.f32.f16 %1, high;\n}\n"
      : "=f"(values.x), "=f"(values.y)
      : "r"(bits));
  return values;
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

// Blocks of a cluster run at once and reach each other's shared memory. Without one: a cluster of one block, as on the
// host always.
template <int size>
struct Cluster {
  __device__ __forceinline__ static int rank() {
#ifndef RECIS_SIMT
    if constexpr (size > 1) {
      unsigned rank;
      asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
      return int(rank);
    }
#endif
    return 0;
  }
  // By all threads of its blocks.
  __device__ __forceinline__ static void sync() {
    if constexpr (size == 1) {
      __syncthreads();
    } else {
#ifndef RECIS_SIMT
      asm volatile("barrier.cluster.arrive;\nbarrier.cluster.wait;\n" ::: "memory");
#endif
    }
  }
};

// A barrier in shared memory, for threads and copies: its phase ends when as many have arrived as it was made
// for, and all bytes are there that some of them have said to expect. Made by one thread; the others may use
// it behind the block's next barrier. What a thread did before it arrives comes before what others do behind
// the phase's end.
class Gate {
 public:
  __device__ __forceinline__ void make(unsigned arrivals) {
#ifdef RECIS_SIMT
    arrivals_ = arrivals;
    state_ = uint64_t(arrivals) << 32;
#else
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(address()), "r"(arrivals) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
#endif
  }
  __device__ __forceinline__ void arrive() {
#ifdef RECIS_SIMT
    update(1, 0);
#else
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(address()) : "memory");
#endif
  }
  // The same at a cluster's `rank`th block's gate in this one's place.
  template <int cluster>
  __device__ __forceinline__ void arrive_at([[maybe_unused]] int rank) {
    if constexpr (cluster == 1) {
      arrive();
    } else {
#ifndef RECIS_SIMT
      asm volatile(
          "{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %0, %1;\n"
          "mbarrier.arrive.shared::cluster.b64 _, [there];\n}\n" ::"r"(address()), "r"(rank) : "memory");
#endif
    }
  }
  __device__ __forceinline__ void arrive_expecting(unsigned bytes) {
#ifdef RECIS_SIMT
    update(1, int64_t(bytes));
#else
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(address()), "r"(bytes) : "memory");
#endif
  }
  // Until the phase of that parity has ended: the first one's is 0, and that of the one before it 1.
  __device__ __forceinline__ void wait(unsigned parity) {
#ifdef RECIS_SIMT
    while (atomicAdd(&state_, uint64_t(0)) >> 63 == parity) pause();
    __threadfence_block();
#else
    asm volatile(
        "{\n.reg .pred ended;\nagain:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 ended, [%0], %1;\n"
        "@!ended bra again;\n}\n" ::"r"(address()), "r"(parity) : "memory");
#endif
  }
  // Copies from global memory to shared memory, 16-byte multiples, by and by: bytes that were expected.
  __device__ __forceinline__ void copy_async(void* shared, const void* global, unsigned bytes) {
#ifdef RECIS_SIMT
    for (unsigned i = 0; i < bytes; i += 8)
      *reinterpret_cast<uint64_t*>(static_cast<char*>(shared) + i) =
          *reinterpret_cast<const uint64_t*>(static_cast<const char*>(global) + i);
    update(0, -int64_t(bytes));
#else
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];\n" ::"r"(
                     unsigned(__cvta_generic_to_shared(shared))),
                 "l"(global), "r"(bytes), "r"(address())
                 : "memory");
#endif
  }
  // The same to all blocks of a cluster, each of which expects the bytes at this gate's place.
  template <int cluster>
  __device__ __forceinline__ void copy_to_all_async(void* shared, const void* global, unsigned bytes) {
    if constexpr (cluster == 1) {
      copy_async(shared, global, bytes);
    } else {
#ifndef RECIS_SIMT
      asm volatile(
          "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
          "[%0], [%1], %2, [%3], %4;\n" ::"r"(unsigned(__cvta_generic_to_shared(shared))),
          "l"(global), "r"(bytes), "r"(address()), "h"(uint16_t((1 << cluster) - 1))
          : "memory");
#endif
    }
  }

 private:
#ifdef RECIS_SIMT
  // Parity, arrivals to come, bytes to come.
  __forceinline__ void update(unsigned arrivals, int64_t bytes) {
    __threadfence_block();
    simt::update(&state_, [=, this](uint64_t old) {
      const uint64_t next = old - (uint64_t(arrivals) << 32) + uint64_t(bytes);
      return next << 1 ? next : (~next >> 63 << 63) | uint64_t(arrivals_) << 32;
    });
  }
  unsigned arrivals_;
#else
  __device__ __forceinline__ unsigned address() const { return unsigned(__cvta_generic_to_shared(&state_)); }
#endif
  uint64_t state_;
};

// Copies 16 bytes to shared memory, by and by; zeros if they are not `there`.
__device__ __forceinline__ void copy_pack_async(void* shared, const void* global, bool there) {
#ifdef RECIS_SIMT
  *static_cast<Pack<float>*>(shared) = there ? *static_cast<const Pack<float>*>(global) : Pack<float>{};
#else
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(unsigned(__cvta_generic_to_shared(shared))),
               "l"(global), "r"(there ? 16 : 0)
               : "memory");
#endif
}

// What this thread copies between two calls is a group.
__device__ __forceinline__ void copy_group() {
#ifndef RECIS_SIMT
  asm volatile("cp.async.commit_group;\n" ::: "memory");
#endif
}
// Waits for all of this thread's groups but the latest ones.
template <int latest>
__device__ __forceinline__ void copy_wait_but() {
#ifndef RECIS_SIMT
  asm volatile("cp.async.wait_group %0;\n" ::"n"(latest) : "memory");
#endif
}

// An operand of wgmma in shared memory: 8 x 8 numbers of 16 bits lie together, 16 bytes of each line; the next
// ones along k lie `along` bytes on, the next ones across `across` bytes on; all multiples of 16.
#ifdef RECIS_SIMT
using WgmmaOperand = simt::Operand;
#else
using WgmmaOperand = uint64_t;
#endif
__device__ __forceinline__ WgmmaOperand wgmma_operand(const void* first, unsigned along, unsigned across) {
#ifdef RECIS_SIMT
  return {static_cast<const unsigned char*>(first), along, across};
#else
  // Above these bits is which of a cluster's blocks it is in.
  const uint64_t address = __cvta_generic_to_shared(first) & 0x3ffff;
  return address >> 4 | uint64_t(along >> 4) << 16 | uint64_t(across >> 4) << 32;
#endif
}

// sum = a b, or sum += a b, for 64 rows of a and 128 or 64 columns of b, 16 k, by the four warps of a group: a
// thread of warp w with lane 4 g + t has rows r = 16 w + g and r + 8 of columns c = 8 j + 2 t and c + 1,
//   sum[4 j + 0..4] = (r, c) (r, c + 1) (r + 8, c) (r + 8, c + 1)
// By and by: between wgmma_begin() and wgmma_wait(), nothing else may touch them. An operand's 16 bytes lie
// along k or, if it is `turned`, across. Half floats, or bfloat16.
template <bool is_bfloat, bool a_turned, bool b_turned>
__device__ __forceinline__ void wgmma(float (&sum)[64], WgmmaOperand a, WgmmaOperand b, bool add) {
#ifdef RECIS_SIMT
  simt::multiply_halves(sum, 64, a, a_turned, b, b_turned, is_bfloat, add);
#else
#define RECIS_WGMMA_AS(type) \
  asm volatile( \
      "{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n" \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " {" \
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63" \
      "}, %64, %65, add, 1, 1, %67, %68;\n}\n" \
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3]), "+f"(sum[4]), \
        "+f"(sum[5]), "+f"(sum[6]), "+f"(sum[7]), "+f"(sum[8]), "+f"(sum[9]), \
        "+f"(sum[10]), "+f"(sum[11]), "+f"(sum[12]), "+f"(sum[13]), "+f"(sum[14]), \
        "+f"(sum[15]), "+f"(sum[16]), "+f"(sum[17]), "+f"(sum[18]), "+f"(sum[19]), \
        "+f"(sum[20]), "+f"(sum[21]), "+f"(sum[22]), "+f"(sum[23]), "+f"(sum[24]), \
        "+f"(sum[25]), "+f"(sum[26]), "+f"(sum[27]), "+f"(sum[28]), "+f"(sum[29]), \
        "+f"(sum[30]), "+f"(sum[31]), "+f"(sum[32]), "+f"(sum[33]), "+f"(sum[34]), \
        "+f"(sum[35]), "+f"(sum[36]), "+f"(sum[37]), "+f"(sum[38]), "+f"(sum[39]), \
        "+f"(sum[40]), "+f"(sum[41]), "+f"(sum[42]), "+f"(sum[43]), "+f"(sum[44]), \
        "+f"(sum[45]), "+f"(sum[46]), "+f"(sum[47]), "+f"(sum[48]), "+f"(sum[49]), \
        "+f"(sum[50]), "+f"(sum[51]), "+f"(sum[52]), "+f"(sum[53]), "+f"(sum[54]), \
        "+f"(sum[55]), "+f"(sum[56]), "+f"(sum[57]), "+f"(sum[58]), "+f"(sum[59]), \
        "+f"(sum[60]), "+f"(sum[61]), "+f"(sum[62]), "+f"(sum[63]) \
      : "l"(a), "l"(b), "r"(int(add)), "n"(int(a_turned)), "n"(int(b_turned)))
  if constexpr (is_bfloat) RECIS_WGMMA_AS("bf16");
  else RECIS_WGMMA_AS("f16");
#undef RECIS_WGMMA_AS
#endif
}
template <bool is_bfloat, bool a_turned, bool b_turned>
__device__ __forceinline__ void wgmma(float (&sum)[32], WgmmaOperand a, WgmmaOperand b, bool add) {
#ifdef RECIS_SIMT
  simt::multiply_halves(sum, 32, a, a_turned, b, b_turned, is_bfloat, add);
#else
#define RECIS_WGMMA_AS(type) \
  asm volatile( \
      "{\n.reg .pred add;\nsetp.ne.b32 add, %34, 0;\n" \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " {" \
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31" \
      "}, %32, %33, add, 1, 1, %35, %36;\n}\n" \
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3]), "+f"(sum[4]), \
        "+f"(sum[5]), "+f"(sum[6]), "+f"(sum[7]), "+f"(sum[8]), "+f"(sum[9]), \
        "+f"(sum[10]), "+f"(sum[11]), "+f"(sum[12]), "+f"(sum[13]), "+f"(sum[14]), \
        "+f"(sum[15]), "+f"(sum[16]), "+f"(sum[17]), "+f"(sum[18]), "+f"(sum[19]), \
        "+f"(sum[20]), "+f"(sum[21]), "+f"(sum[22]), "+f"(sum[23]), "+f"(sum[24]), \
        "+f"(sum[25]), "+f"(sum[26]), "+f"(sum[27]), "+f"(sum[28]), "+f"(sum[29]), \
        "+f"(sum[30]), "+f"(sum[31]) \
      : "l"(a), "l"(b), "r"(int(add)), "n"(int(a_turned)), "n"(int(b_turned)))
  if constexpr (is_bfloat) RECIS_WGMMA_AS("bf16");
  else RECIS_WGMMA_AS("f16");
#undef RECIS_WGMMA_AS
#endif
}

#ifdef RECIS_WGMMA
// The same for 8 k of TF32, four of each line together; 128 columns, not turned.
__device__ __forceinline__ void wgmma_tf32(float (&sum)[64], uint64_t a, uint64_t b, bool add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, %64, %65, add, 1, 1;\n}\n"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3]), "+f"(sum[4]),
        "+f"(sum[5]), "+f"(sum[6]), "+f"(sum[7]), "+f"(sum[8]), "+f"(sum[9]),
        "+f"(sum[10]), "+f"(sum[11]), "+f"(sum[12]), "+f"(sum[13]), "+f"(sum[14]),
        "+f"(sum[15]), "+f"(sum[16]), "+f"(sum[17]), "+f"(sum[18]), "+f"(sum[19]),
        "+f"(sum[20]), "+f"(sum[21]), "+f"(sum[22]), "+f"(sum[23]), "+f"(sum[24]),
        "+f"(sum[25]), "+f"(sum[26]), "+f"(sum[27]), "+f"(sum[28]), "+f"(sum[29]),
        "+f"(sum[30]), "+f"(sum[31]), "+f"(sum[32]), "+f"(sum[33]), "+f"(sum[34]),
        "+f"(sum[35]), "+f"(sum[36]), "+f"(sum[37]), "+f"(sum[38]), "+f"(sum[39]),
        "+f"(sum[40]), "+f"(sum[41]), "+f"(sum[42]), "+f"(sum[43]), "+f"(sum[44]),
        "+f"(sum[45]), "+f"(sum[46]), "+f"(sum[47]), "+f"(sum[48]), "+f"(sum[49]),
        "+f"(sum[50]), "+f"(sum[51]), "+f"(sum[52]), "+f"(sum[53]), "+f"(sum[54]),
        "+f"(sum[55]), "+f"(sum[56]), "+f"(sum[57]), "+f"(sum[58]), "+f"(sum[59]),
        "+f"(sum[60]), "+f"(sum[61]), "+f"(sum[62]), "+f"(sum[63])
      : "l"(a), "l"(b), "r"(int(add)));
}
#endif

__device__ __forceinline__ void wgmma_begin() {
#ifndef RECIS_SIMT
  asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
#endif
}
__device__ __forceinline__ void wgmma_commit() {
#ifndef RECIS_SIMT
  asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
#endif
}
__device__ __forceinline__ void wgmma_wait() {
#ifndef RECIS_SIMT
  asm volatile("wgmma.wait_group.sync.aligned 0;\n" ::: "memory");
#endif
}

// What this thread has stored to shared memory comes before what wgmma reads behind the next barrier.
__device__ __forceinline__ void wgmma_publish() {
#ifndef RECIS_SIMT
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
#endif
}

}  // namespace recis
