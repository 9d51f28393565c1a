// The digits that a radix sort sorts by, and the ranks of a tile's items among those with the same digit.
#pragma once

#include "common.cuh"

namespace recis {

// What is sorted by are words of 32 bits, the lowest first, and a word is at most four digits.
constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits, kPassesOfWord = 4;

// A digit of a word.
struct Digit {
  uint32_t shift, mask;
  __device__ uint32_t operator()(uint32_t key) const { return key >> shift & mask; }
};

// How many passes `bits` bits take, and the digit of each.
__host__ __device__ constexpr int passes_of(uint32_t bits) { return int(bits + kDigitBits - 1) / kDigitBits; }
__device__ __forceinline__ Digit digit_of(uint32_t bits, int pass) {
  const uint32_t bits_here = min(32u, bits - 32u * uint32_t(pass / kPassesOfWord));
  const uint32_t passes_here = uint32_t(passes_of(bits_here));
  const uint32_t width = (bits_here + passes_here - 1) / passes_here;  // of about the same width each
  return {uint32_t(pass % kPassesOfWord) * width, (1u << width) - 1};
}

// The lanes of a full warp that have the same digit.
__device__ __forceinline__ unsigned same_digit(uint32_t digit) {
  unsigned same = ~0u;
#pragma unroll
  for (int bit = 0; bit < kDigitBits; ++bit) {
    const int32_t sign = int32_t(digit << (31 - bit));  // the bit
    const unsigned set = __ballot_sync(~0u, sign < 0);
    same &= ~(set ^ uint32_t(sign >> 31));
  }
  return same;
}

// Ranks the items of a tile, of which a warp has `items` * 32 in a row and lane i every 32nd from the i-th.
template <int warps, int items>
struct Ranks {
  uint32_t counts[warps][kDigits];

  // ranks[k] = how many items of the warp before a lane's item k have the same digit; those without their
  // bit in `there` do not count.
  __device__ void within_warp(Digit digit, const uint32_t (&keys)[items], uint32_t there,
                              uint32_t (&ranks)[items]) {
    const unsigned lane = threadIdx.x % 32;
    uint32_t* count = counts[threadIdx.x / 32];
    for (unsigned d = lane; d < kDigits; d += 32) count[d] = 0;
    __syncwarp();
#pragma unroll
    for (int k = 0; k < items; ++k) {
      const uint32_t d = digit(keys[k]);
      const unsigned same = same_digit(d) & __ballot_sync(~0u, there >> k & 1);
      const uint32_t before = count[d];
      ranks[k] = before + __popc(same & ((1u << lane) - 1));
      __syncwarp();
      if (lane == unsigned(__ffs(int(same)) - 1)) count[d] = before + __popc(same);
      __syncwarp();
    }
  }

  // Then, behind a barrier: counts become those of the warps before, and a thread gets the tile's count of
  // the digit with its number.
  __device__ uint32_t over_warps() {
    uint32_t sum = 0;
    if (threadIdx.x >= kDigits) return sum;
#pragma unroll 4
    for (int warp = 0; warp < warps; ++warp) {
      const uint32_t count = counts[warp][threadIdx.x];
      counts[warp][threadIdx.x] = sum;
      sum += count;
    }
    return sum;
  }
};

// The sum over the digits before a thread's. To be called by all threads of a block; those without a digit
// bring 0. `ends` is shared memory, and not to be used again before another barrier.
__device__ __forceinline__ uint32_t sum_of_lower_digits(uint32_t count, uint32_t (&ends)[kDigits / 32]) {
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  uint32_t sum = count;
  for (unsigned step = 1; step < 32; step *= 2) {
    const uint32_t before = __shfl_up_sync(~0u, sum, step);
    if (lane >= step) sum += before;
  }
  if (lane == 31 && warp < kDigits / 32) ends[warp] = sum;
  __syncthreads();
  for (unsigned other = 0; other < kDigits / 32; ++other)
    if (other < warp) sum += ends[other];
  return sum - count;
}

}  // namespace recis
