// The counter-based generator Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2,
// 3", 2011): the same numbers on every device, in any order.
#pragma once

#include "common.cuh"

namespace recis {

struct Words {
  uint32_t word[4];
};

// Four random words for a counter and a key.
__device__ __forceinline__ Words philox(Words counter, uint64_t key) {
  uint32_t(&c)[4] = counter.word;
  uint32_t key0 = uint32_t(key), key1 = uint32_t(key >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t(0xd2511f53) * c[0], p1 = uint64_t(0xcd9e8d57) * c[2];
    counter = {{uint32_t(p1 >> 32) ^ c[1] ^ key0, uint32_t(p1), uint32_t(p0 >> 32) ^ c[3] ^ key1, uint32_t(p0)}};
    key0 += 0x9e3779b9;
    key1 += 0xbb67ae85;
  }
  return counter;
}

}  // namespace recis
