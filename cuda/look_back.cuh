// Sums over all earlier tiles of an array, found while those are still at work ("decoupled look-back").
#pragma once

#include "common.cuh"

namespace recis {

// What a tile has told those behind it: nothing yet (0), its own sum (plus 1), or the sum up to its end
// (with this bit). One word, so that it is never seen in part and no fence is needed. Sums are below 2^31.
constexpr uint32_t kUpToEnd = 1u << 31;

__device__ __forceinline__ void tell(uint32_t* told, uint32_t word) {
  *static_cast<volatile uint32_t*>(told) = word;
}
__device__ __forceinline__ void tell_sum(uint32_t* told, uint32_t sum) { tell(told, sum + 1); }
__device__ __forceinline__ void tell_sum_up_to_end(uint32_t* told, uint32_t sum) {
  tell(told, kUpToEnd | sum);
}

// The sum over the tiles before `tile`, whose word is at `told`; the words of tiles are `stride` apart.
// Waits for earlier tiles only.
__device__ __forceinline__ uint32_t sum_before(const uint32_t* told, uint32_t tile, int64_t stride) {
  // Words under way at once: a round trip to the second-level cache takes longer than all of them.
  constexpr int kWords = 16;
  uint32_t sum = 0;
  for (;;) {
    uint32_t words[kWords];
#pragma unroll
    for (uint32_t k = 0; k < kWords; ++k)
      words[k] = k < tile ? static_cast<const volatile uint32_t*>(told)[-int64_t(k + 1) * stride] : kUpToEnd;
    bool all_told = true;
#pragma unroll
    for (uint32_t k = 0; k < kWords; ++k) {
      if (!all_told) continue;
      if (words[k] & kUpToEnd) return sum + (words[k] & ~kUpToEnd);
      all_told = words[k] != 0;
      if (all_told) sum += words[k] - 1, --tile, told -= stride;
    }
    if (!all_told) pause();
  }
}

// The same by all lanes of a warp, which look at 128 tiles at once; `told` are the words of all tiles, side by side.
__device__ __forceinline__ uint32_t sum_before_by_warp(const uint32_t* told, uint32_t tile) {
  constexpr uint32_t kWords = 4;
  const uint32_t lane = threadIdx.x % 32;
  uint32_t sum = 0;
  for (;;) {
    uint32_t words[kWords];
#pragma unroll
    for (uint32_t k = 0; k < kWords; ++k) {
      const uint32_t distance = 32 * k + lane;
      words[k] = distance < tile ? static_cast<const volatile uint32_t*>(told)[tile - 1 - distance] : kUpToEnd;
    }
#pragma unroll
    for (uint32_t k = 0; k < kWords; ++k) {
      const unsigned ends = __ballot_sync(~0u, words[k] >= kUpToEnd), untold = __ballot_sync(~0u, words[k] == 0);
      // Tiles up to the nearest of these have told their own sums, and that one all up to its end.
      const uint32_t nearest = ends | untold ? uint32_t(__ffs(int(ends | untold))) - 1 : 32;
      const bool is_end = nearest < 32 && (ends >> nearest & 1);
      const uint32_t mine = lane < nearest ? words[k] - 1 : lane == nearest && is_end ? words[k] - kUpToEnd : 0;
      sum += __reduce_add_sync(~0u, mine);
      if (is_end) return sum;
      tile -= nearest;
      if (nearest < 32) break;
    }
    pause();
  }
}

}  // namespace recis
