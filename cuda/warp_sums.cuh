// Sums over the warps of a block.
#pragma once

#include "common.cuh"

namespace recis {

// Of numbers of which each warp has one: over the warps before this one, and over all.
struct WarpSums {
  uint32_t before, all;
};

// Behind a barrier, of what each warp has written to its place.
__device__ __forceinline__ WarpSums read_warp_sums(const uint32_t (&counts)[32]) {
  const unsigned warp = threadIdx.x / 32;
  WarpSums sums{};
  for (unsigned other = 0; other < blockDim.x / 32; ++other) {
    sums.before += other < warp ? counts[other] : 0;
    sums.all += counts[other];
  }
  return sums;
}

// Of `count`, the same for all lanes of a warp. It is a barrier.
__device__ __forceinline__ WarpSums sum_over_warps(uint32_t count, uint32_t (&counts)[32]) {
  if (threadIdx.x % 32 == 0) counts[threadIdx.x / 32] = count;
  __syncthreads();
  return read_warp_sums(counts);
}

}  // namespace recis
