// The distinct ids of a few positions, by one block in its shared memory: launches and waiting would take longer than the
// work.
#pragma once

#include "id_columns.cuh"
#include "sorted_ids.cuh"
#include "warp_sums.cuh"

namespace recis {

constexpr int kSmallThreads = 1024, kSmallItems = 4, kSmall = kSmallThreads * kSmallItems;

__global__ void __launch_bounds__(kSmallThreads)
    small_kernel(FromColumns from, uint32_t* highs, uint64_t* rests, Results out) {
  wait_for_stream();
  __shared__ ColumnsHere here;
  __shared__ Seen all;
  __shared__ Packing packing;
  __shared__ union {
    Ranks<kSmallThreads / 32, kSmallItems> ranks;
    struct {
      uint32_t keys[kSmall], positions[kSmall];
    } sorted;
  } memory;
  __shared__ uint32_t starts[kDigits], ends[kDigits / 32], head_counts[32];
  from.set(here);
  __syncthreads();
  const unsigned warp = threadIdx.x / 32, begin = warp * 32 * kSmallItems, first = begin + threadIdx.x % 32;
  Key ids[kSmallItems];
  Seen mine{};
#pragma unroll
  for (int k = 0; k < kSmallItems; ++k) {
    const uint32_t i = first + k * 32;
    ids[k] = i < out.total ? from.key(here, i) : Key{0, from.no_table};
    if (ids[k].table != from.no_table) mine.add(ids[k], true);
  }
  see_together(mine, all);
  __syncthreads();
  packing.set(all);
  __syncthreads();

  // As in the sort of many, but always from the lowest digit; a long key's other words wait in the scratch memory.
  uint32_t keys[kSmallItems], positions[kSmallItems], places[kSmallItems], there = 0;
#pragma unroll
  for (int k = 0; k < kSmallItems; ++k) {
    const uint32_t i = positions[k] = first + k * 32;
    const Packed packed = packing.pack(ids[k]);
    keys[k] = packing.is_long() ? uint32_t(packed.rest) : packed.high;
    there |= uint32_t(ids[k].table != from.no_table) << k;
    if (packing.is_long() && i < out.total) highs[i] = packed.high, rests[i] = packed.rest;
  }
  const int first_pass = -packing.size.rest_passes();
  for (int pass = first_pass; pass < packing.size.high_passes(); ++pass) {
    const Digit digit = packing.size.digit(pass);
    __syncthreads();
    if (pass > first_pass && packing.size.begins_word(pass))
      for (int k = 0; k < kSmallItems; ++k) {
        if (!(there >> k & 1)) continue;
        const uint32_t position = positions[k];
        keys[k] = pass < 0 ? uint32_t(rests[position] >> 32) : highs[position];
      }
    memory.ranks.within_warp(digit, keys, there, places);
    __syncthreads();
    const uint32_t start = sum_of_lower_digits(memory.ranks.over_warps(), ends);
    if (threadIdx.x < kDigits) starts[threadIdx.x] = start;
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kSmallItems; ++k)
      places[k] += memory.ranks.counts[warp][digit(keys[k])] + starts[digit(keys[k])];
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kSmallItems; ++k) {
      if (!(there >> k & 1)) continue;
      memory.sorted.keys[places[k]] = keys[k];
      memory.sorted.positions[places[k]] = positions[k];
    }
    __syncthreads();
    there = 0;
#pragma unroll
    for (int k = 0; k < kSmallItems; ++k) {
      const uint32_t i = first + k * 32;
      if (i >= packing.size.used) continue;
      keys[k] = memory.sorted.keys[i];
      positions[k] = memory.sorted.positions[i];
      there |= 1u << k;
    }
  }

  const Sorted sorted{&packing, memory.sorted.keys, memory.sorted.positions, rests};
  SortedRun<kSmallItems> run;
  const WarpSums heads = sum_over_warps(run.read(sorted, begin, true), head_counts);
  run.write(sorted, heads.before, out, nullptr);
  write_end(sorted, heads.all, out);
#pragma unroll
  for (int k = 0; k < kSmallItems; ++k)
    if (first + k * 32 < packing.size.used) out.positions[first + k * 32] = positions[k];
}

}  // namespace recis
