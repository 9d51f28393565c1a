// Positions in the order of their keys' high words are put into that of whole keys, by the rests of keys with the
// same high word: ties. Equal keys are no work, however many there are; this is for few ties of others.
#pragma once

#include "common.cuh"

namespace recis {

// A high word that no key has: that of a position without one. It is left out of the order.
constexpr uint32_t kNoKey = ~0u;

// A run is all places with one high word. It changes where the rest is another than at the place before; a run
// without a change is in order. A warp looks at a row of 32 places at a time.
struct Ties {
  const uint32_t *highs, *positions;  // [used] in order of highs; by other blocks of this launch: not through L1
  const uint64_t* rests;              // of positions
  uint32_t used;
  uint32_t* out;       // [used] what positions are at first
  uint32_t* too_many;  // set if it is more than is done here

  // A run beyond its row is put in order by one warp, if it is no longer than this, and has no more parts with one
  // rest than a warp has lanes.
  static constexpr uint32_t kLongest = 1024;

  __device__ uint32_t high_at(uint32_t i) const { return i < used ? __ldcg(highs + i) : kNoKey; }
  __device__ uint64_t rest_at(uint32_t i) const { return rests[__ldcg(positions + i)]; }

  // Puts the runs in order whose first change is in one of these rows. By all lanes of a warp.
  template <int rows>
  __device__ __forceinline__ void order_rows(uint32_t begin) const {
    const unsigned lane = threadIdx.x % 32;
    uint32_t here[rows], tied = 0;
#pragma unroll
    for (int row = 0; row < rows; ++row) here[row] = high_at(begin + row * 32 + lane);
#pragma unroll
    for (int row = 0; row < rows; ++row) {
      uint32_t before = __shfl_up_sync(~0u, here[row], 1);
      if (lane == 0) before = high_at(begin + row * 32 - 1);
      const bool is_tied = here[row] != kNoKey && here[row] == before;
      tied |= uint32_t(__any_sync(~0u, is_tied)) << row;
    }
    for (; tied != 0; tied &= tied - 1) order_row(begin + uint32_t(__ffs(int(tied)) - 1) * 32);
  }

 private:
  __device__ void order_row(uint32_t row) const {
    const unsigned lane = threadIdx.x % 32;
    const uint32_t i = row + lane, high = high_at(i);
    const uint32_t below = high_at(row - 1), above = high_at(row + 32);
    const uint32_t position = i < used ? __ldcg(positions + i) : 0;
    const uint64_t rest = i < used ? rests[position] : 0;
    uint32_t high_before = __shfl_up_sync(~0u, high, 1);
    uint64_t rest_before = __shfl_up_sync(~0u, rest, 1);
    if (lane == 0) high_before = below;
    const bool is_tied = i < used && high == high_before;
    if (lane == 0 && is_tied) rest_before = rest_at(row - 1);
    const unsigned changes = __ballot_sync(~0u, is_tied && rest != rest_before);
    if (changes == 0) return;

    // Runs within the row, all at once.
    uint32_t place = lane;
    for (unsigned distance = 1; distance < 32; ++distance) {
      const unsigned other = (lane + distance) % 32;
      const uint32_t other_high = __shfl_sync(~0u, high, int(other));
      const uint64_t other_rest = __shfl_sync(~0u, rest, int(other));
      if (other_high != high) continue;
      if (other > lane) place += other_rest < rest;
      else place -= other_rest > rest;
    }
    if (place != lane && high != below && high != above) out[row + place] = position;

    // The two that go on beyond it.
    const unsigned from_below = __ballot_sync(~0u, high == below);
    const unsigned to_above = __ballot_sync(~0u, high == above) & ~from_below;
    if (changes & from_below) order_run_that_began(row);
    if (changes & to_above) order_run(row + uint32_t(__ffs(int(to_above)) - 1));
  }

  // Puts the run in order that began before a row, unless it changed there: then another warp does.
  __device__ void order_run_that_began(uint32_t row) const {
    const uint32_t high = high_at(row - 1);
    const uint64_t rest = rest_at(row - 1);
    for (uint32_t begin = row - 32; row - begin <= kLongest; begin -= 32) {
      const uint32_t i = begin + threadIdx.x % 32;
      const bool is_same = high_at(i) == high;
      if (__any_sync(~0u, is_same && rest_at(i) != rest)) return;
      const unsigned others = __ballot_sync(~0u, !is_same);
      if (others != 0 || begin == 0) return order_run(begin + 32 - uint32_t(__clz(int(others))));
    }
    *static_cast<volatile uint32_t*>(too_many) = 1;
  }

  // Puts the run in order that begins at a place. A lane has a part of it, that has one rest: where it begins, its
  // rest, and where it is to begin.
  __device__ void order_run(uint32_t begin) const {
    const unsigned lane = threadIdx.x % 32;
    const uint32_t high = high_at(begin);
    uint32_t parts = 0, end = begin, part_begin = 0;
    uint64_t part_rest = 0, rest_before = 0;
    for (unsigned there = ~0u; there == ~0u;) {
      const uint32_t i = end + lane;
      const bool is_same = high_at(i) == high;
      const uint64_t rest = is_same ? rest_at(i) : 0;
      uint64_t before = __shfl_up_sync(~0u, rest, 1);
      if (lane == 0) before = rest_before;
      rest_before = __shfl_sync(~0u, rest, 31);
      unsigned begins = __ballot_sync(~0u, is_same && (i == begin || rest != before));
      for (; begins != 0; begins &= begins - 1, ++parts) {
        const int source = __ffs(int(begins)) - 1;
        const uint64_t rest_there = __shfl_sync(~0u, rest, source);
        if (lane == parts) part_begin = end + uint32_t(source), part_rest = rest_there;
      }
      there = __ballot_sync(~0u, is_same);
      end += uint32_t(__popc(there));
      if (parts > 32 || end - begin > kLongest) {
        *static_cast<volatile uint32_t*>(too_many) = 1;
        return;
      }
    }
    uint32_t length = __shfl_down_sync(~0u, part_begin, 1) - part_begin;
    if (lane == parts - 1) length = end - part_begin;
    uint32_t target = begin;
    for (unsigned other = 0; other < parts; ++other) {
      const uint64_t rest = __shfl_sync(~0u, part_rest, int(other));
      const uint32_t before = __shfl_sync(~0u, length, int(other));
      if (rest < part_rest || (rest == part_rest && other < lane)) target += before;
    }
    for (unsigned part = 0; part < parts; ++part) {
      const uint32_t from = __shfl_sync(~0u, part_begin, int(part)), to = __shfl_sync(~0u, target, int(part));
      const uint32_t count = __shfl_sync(~0u, length, int(part));
      for (uint32_t i = lane; i < count; i += 32) out[to + i] = __ldcg(positions + from + i);
    }
  }
};

}  // namespace recis
