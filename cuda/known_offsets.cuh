// The segments of a block's ids, by searches that begin in shared memory.
#pragma once

#include "lookup.cuh"

namespace recis {

// The offsets of every 2^shift-th segment in shared memory.
constexpr int kKnown = 4 * kThreads;
struct KnownOffsets {
  const int32_t *known, *offsets;
  uint32_t segments, first_half;
  int shift = 0;
  int32_t loading[kKnown / kThreads];

  // Begins to load them.
  __device__ __forceinline__ explicit KnownOffsets(const recis_lookup& lookup)
      : known(nullptr), offsets(lookup.offsets), segments(uint32_t(lookup.segments)), first_half(1) {
    const uint32_t last = segments - 1;
    while (last >> shift >= kKnown) ++shift;
    while (first_half <= last / 2) first_half *= 2;
#pragma unroll
    for (uint32_t k = 0; k < kKnown / kThreads; ++k) {
      const uint32_t segment = (threadIdx.x + k * kThreads) << shift;
      loading[k] = offsets[segment < last ? segment : last];
    }
  }

  // They are there behind the next barrier.
  __device__ __forceinline__ void store(int32_t* memory) {
#pragma unroll
    for (uint32_t k = 0; k < kKnown / kThreads; ++k) memory[threadIdx.x + k * kThreads] = loading[k];
    known = memory;
  }

  // The segments of several ids: the last one that begins at or before each. Searched for side by side,
  // since every step of a search waits for the one before.
  template <int count>
  __device__ __forceinline__ void find(const int64_t (&id)[count], uint32_t (&segment)[count]) const {
#pragma unroll
    for (int k = 0; k < count; ++k) segment[k] = 0;
    uint32_t half = first_half;
    for (; half >> shift > 0; half /= 2) take_halves(known, shift, half, id, segment);
    for (; half > 0; half /= 2) take_halves(offsets, 0, half, id, segment);
  }

 private:
  // Goes on in the upper half where it begins at or before the id. Without branches: all are loaded at once.
  template <int count>
  __device__ __forceinline__ void take_halves(const int32_t* begins, int begins_shift, uint32_t half,
                                              const int64_t (&id)[count], uint32_t (&segment)[count]) const {
    int32_t begin[count];
#pragma unroll
    for (int k = 0; k < count; ++k) {
      const uint32_t middle = segment[k] + half;
      begin[k] = begins[(middle < segments ? middle : 0) >> begins_shift];
    }
#pragma unroll
    for (int k = 0; k < count; ++k) {
      const uint32_t middle = segment[k] + half;
      if (middle < segments && begin[k] <= id[k]) segment[k] = middle;
    }
  }
};

}  // namespace recis
