// MurmurHash64A with seed 0, word by word.
#pragma once

#include "common.cuh"

namespace recis {

constexpr uint64_t kMurmur = 0xc6a4a7935bd1e995;

__device__ __forceinline__ uint64_t shift_mix(uint64_t x) { return x ^ x >> 47; }

// The state for so many bytes, the state after one more word, and the hash that it ends in.
__device__ __forceinline__ uint64_t murmur_begin(uint64_t bytes) { return bytes * kMurmur; }
__device__ __forceinline__ uint64_t murmur_add(uint64_t state, uint64_t word) {
  return (state ^ shift_mix(word * kMurmur) * kMurmur) * kMurmur;
}
__device__ __forceinline__ uint64_t murmur_end(uint64_t state) {
  return shift_mix(shift_mix(state) * kMurmur);
}

// The hash of one or two ids' bytes.
__device__ __forceinline__ uint64_t murmur(int64_t id) {
  return murmur_end(murmur_add(murmur_begin(8), uint64_t(id)));
}
__device__ __forceinline__ uint64_t murmur(int64_t x, int64_t y) {
  return murmur_end(murmur_add(murmur_add(murmur_begin(16), uint64_t(x)), uint64_t(y)));
}

}  // namespace recis
