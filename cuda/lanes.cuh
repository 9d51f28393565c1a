// Rows of floats, each moved by a group of neighbouring lanes: 16 bytes a lane where rows are so aligned.
#pragma once

#include "common.cuh"

namespace recis {

// `width` floats side by side, 1 or 4, moved by one instruction.
template <int width>
struct alignas(4 * width) Floats {
  float value[width];
};

template <int width>
__device__ __forceinline__ Floats<width> load_floats(const float* from) {
  return *reinterpret_cast<const Floats<width>*>(from);
}
// The same of floats that are read once: they take no place in the first cache.
template <int width>
__device__ __forceinline__ Floats<width> load_once(const float* from) {
  Floats<width> floats;
#ifdef RECIS_SIMT
  floats = load_floats<width>(from);
#else
  float(&value)[width] = floats.value;
  if constexpr (width == 4)
    asm("ld.global.nc.L1::no_allocate.v4.f32 {%0, %1, %2, %3}, [%4];"
        : "=f"(value[0]), "=f"(value[1]), "=f"(value[2]), "=f"(value[3])
        : "l"(from));
  else
    asm("ld.global.nc.L1::no_allocate.f32 %0, [%1];" : "=f"(value[0]) : "l"(from));
#endif
  return floats;
}
template <int width>
__device__ __forceinline__ void store_floats(float* to, const Floats<width>& floats) {
  const float(&value)[width] = floats.value;
  // The compiler may take an assignment of four floats apart, but not this.
  if constexpr (width == 4)
    __stwb(reinterpret_cast<float4*>(to), float4{value[0], value[1], value[2], value[3]});
  else
    *to = value[0];
}

// *to += floats, without waiting for what is there. Nobody else may be at it.
template <int width>
__device__ __forceinline__ void add_to(float* to, const Floats<width>& floats) {
  const float(&value)[width] = floats.value;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if constexpr (width == 4)
    asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(value[0]), "f"(value[1]),
                 "f"(value[2]), "f"(value[3])
                 : "memory");
  else
    atomicAdd(to, value[0]);
#else
#pragma unroll
  for (int k = 0; k < width; ++k) atomicAdd(to + k, value[k]);
#endif
}

// sum += factor * term.
template <int width>
__device__ __forceinline__ void add_scaled(Floats<width>& sum, float factor, const Floats<width>& term) {
#pragma unroll
  for (int k = 0; k < width; ++k) sum.value[k] += factor * term.value[k];
}
template <int width>
__device__ __forceinline__ void add(Floats<width>& sum, const Floats<width>& term) {
#pragma unroll
  for (int k = 0; k < width; ++k) sum.value[k] += term.value[k];
}

// The sum over the lanes of a warp that are equal in their lowest `shift` bits, in all of them.
template <int width>
__device__ __forceinline__ void add_groups(Floats<width>& sum, int shift) {
  for (int distance = 1 << shift; distance < 32; distance *= 2) {
#pragma unroll
    for (int k = 0; k < width; ++k) sum.value[k] += __shfl_xor_sync(~0u, sum.value[k], distance);
  }
}

// A row of `columns` floats has a group of 2^shift lanes, `width` floats a lane; a warp at most, whose
// lanes then go on to the next columns.
inline int group_shift(int64_t columns, int width) {
  int shift = 0;
  while (shift < 5 && int64_t(width) << shift < columns) ++shift;
  return shift;
}

// How many slices of columns a group of lanes takes one after the other, or, as `blockIdx.y`, a grid has.
inline unsigned slices_of(int64_t columns, int width, int shift) {
  const int64_t slice = int64_t(width) << shift;
  return unsigned((columns + slice - 1) / slice);
}

// The first column of a thread in its row.
template <int width>
__device__ __forceinline__ int64_t lane_column(int shift) {
  return int64_t(threadIdx.x & ((1u << shift) - 1)) * width;
}

}  // namespace recis
