// A stable radix sort of keys whose length only the device knows: one launch, and a pass over the data for
// every eight bits of a key's high word.
//
// Keys that are longer have a rest below that word. In a batch few keys share a high word that others have:
// the rests of those few are put in order at the end (ties.cuh). If they are too many, the sort begins again
// with the lowest digit of the rests.
//
// A pass moves each tile of the data once ("onesweep"): a block ranks the items of a tile, looks back at
// how many items of each digit earlier tiles have, and writes. Blocks take tiles by ticket, pass after
// pass, and wait only for what has an earlier ticket, so it does not matter how many run at once.
#pragma once

#include "digits.cuh"
#include "look_back.cuh"
#include "ties.cuh"

namespace recis {

// What the sort must know of its keys, in device memory.
struct SortSize {
  uint32_t bits;       // of a key, at least 1
  uint32_t rest_bits;  // the lowest of them, that the high word does not have
  uint32_t used;       // so many positions have a key
  uint32_t count;      // of so many; those behind are left out

  // Passes over the high word have the numbers from 0 on, those over the rest the ones below.
  __device__ int high_passes() const { return passes_of(bits - rest_bits); }
  __device__ int rest_passes() const { return passes_of(rest_bits); }
  __device__ Digit digit(int pass) const {
    return pass < 0 ? digit_of(rest_bits, pass + rest_passes()) : digit_of(bits - rest_bits, pass);
  }
  // Which word of the rest a pass below 0 is over, and whether a pass is the first over its word.
  __device__ int rest_word(int pass) const { return (pass + rest_passes()) / kPassesOfWord; }
  __device__ bool begins_word(int pass) const {
    return pass < 0 ? (pass + rest_passes()) % kPassesOfWord == 0 : pass == 0;
  }
};
// Keys have 76 bits at most: 52 below a high word of 24, or 45 below one of 31, and 10 passes either way. No high
// word of 31 bits is kNoKey.
constexpr uint32_t kHighBits = 31, kMaxRestBits = 52;
constexpr int kMaxPasses = 10;

// The bits of the high words of `used` long keys: 24 if those can tell 2^10 times as many keys apart, so that at
// random one key of 2^10 shares its high word with another. A pass less than that would spare 16 us of 1 M keys,
// but among ids of which some are much more frequent than others, a frequent one would nearly always be tied.
__device__ __forceinline__ uint32_t high_bits_of_long(uint32_t used) { return used < 1u << 14 ? 24 : kHighBits; }

struct Pairs {
  uint32_t *keys, *positions;  // [count]
};

struct Sort {
  const SortSize* size;
  uint32_t count, tiles;  // at most
  const uint32_t* highs;  // [count] the keys by position
  const uint64_t* rests;  // [count] if they have some
  // [kMaxPasses, kDigits] how often each digit of the high word occurs; behind them zeros, for those of the rest.
  uint32_t* histograms;
  // A pass writes one of these, and the next one reads it; the last one writes positions to `positions` too.
  Pairs pairs[2];
  uint32_t* positions;  // [count]
  // Zeros: the next ticket, how many tiles of each stage are done [kMaxStages], what tiles tell of their
  // digits [2, tiles, kDigits], and whether ties are too many.
  uint32_t *ticket, *done, *told, *too_many_ties;

  // The high words in order, when the sort is done.
  __device__ const uint32_t* sorted() const { return pairs[(size->high_passes() - 1) % 2].keys; }
};

// Of the digits of a pass, and of the passes behind it.
__device__ __forceinline__ uint32_t* histogram_of(const Sort& sort, const SortSize& size, int pass) {
  return sort.histograms + (pass < 0 ? size.high_passes() + size.rest_passes() + pass : pass) * kDigits;
}

constexpr int kSortThreads = 512, kSortWarps = kSortThreads / 32;
// So many blocks run at once on an H100, two on each multiprocessor. More would find no ticket there.
constexpr int64_t kSortBlocks = 264;

// Items of a thread: the fewest that leave each block one tile.
inline int sort_items(int64_t count) {
  const int64_t threads = kSortBlocks * kSortThreads;
  return count <= 4 * threads ? 4 : count <= 8 * threads ? 8 : count <= 12 * threads ? 12 : 16;
}
inline int64_t sort_tiles(int64_t count) {
  const int64_t tile = sort_items(count) * int64_t(kSortThreads);
  return (count + tile - 1) / tile;
}

// Sorts a tile by the digit of a pass; the first pass takes positions as they are. Thread 0 gets the next
// ticket, which is taken meanwhile.
template <int items>
__device__ __forceinline__ uint32_t sort_tile(const Sort& sort, const SortSize& size, int pass, bool is_first,
                                              uint32_t tile) {
  constexpr uint32_t kTile = kSortThreads * items;
  __shared__ union {
    Ranks<kSortWarps, items> ranks;
    uint32_t staged[kTile];
  } memory;
  __shared__ uint32_t starts[kDigits], ends[2][kDigits / 32], tile_count;
  const Digit digit = size.digit(pass);
  const bool begins_word = size.begins_word(pass), is_last = pass == size.high_passes() - 1;
  const bool is_odd = pass & 1;
  const Pairs from = is_odd ? sort.pairs[0] : sort.pairs[1], to = is_odd ? sort.pairs[1] : sort.pairs[0];
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;

  uint32_t keys[items], places[items], there = 0;
  const uint32_t first = tile * kTile + warp * 32 * items + lane;
  // The first pass leaves out the positions that have no key.
  const uint32_t end = min(is_first ? size.count : size.used, sort.count);
  auto position_at = [&](uint32_t i) { return is_first ? i : i < end ? __ldcg(from.positions + i) : 0; };
  // Where a word begins, keys come from their positions.
  if (begins_word && pass < 0) {
#pragma unroll
    for (int k = 0; k < items; ++k) {
      const uint32_t i = first + k * 32;
      keys[k] = i < end ? uint32_t(sort.rests[position_at(i)] >> 32 * size.rest_word(pass)) : 0;
    }
  } else {
    const uint32_t* source = begins_word ? sort.highs : from.keys;
#pragma unroll
    for (int k = 0; k < items; ++k) {
      const uint32_t i = first + k * 32;
      keys[k] = i < end ? __ldcg(source + (begins_word ? position_at(i) : i)) : 0;
    }
  }
#pragma unroll
  for (int k = 0; k < items; ++k) {
    const uint32_t i = first + k * 32;
    const bool has_key = i < end && (!is_first || (pass == 0 ? keys[k] : __ldcg(sort.highs + i)) != kNoKey);
    there |= uint32_t(has_key) << k;
  }
  memory.ranks.within_warp(digit, keys, there, places);
  const bool has_digit = threadIdx.x < kDigits;
  const uint32_t everywhere = has_digit ? __ldcg(&histogram_of(sort, size, pass)[threadIdx.x]) : 0;
  __syncthreads();

  const uint32_t count = memory.ranks.over_warps();
  const int64_t word = int64_t(tile) * kDigits + threadIdx.x, words = int64_t(sort.tiles) * kDigits;
  uint32_t* told = sort.told + (pass & 1) * words + word;
  if (has_digit) {
    if (tile == 0) tell_sum_up_to_end(told, count);
    else tell_sum(told, count);
    sort.told[((pass + 1) & 1) * words + word] = 0;  // for the next pass; the one before has no use for it
  }
  const uint32_t start = sum_of_lower_digits(count, ends[0]);
  const uint32_t base = sum_of_lower_digits(everywhere, ends[1]);
  if (has_digit) starts[threadIdx.x] = start;
  if (threadIdx.x == kDigits - 1) tile_count = start + count;
  __syncthreads();
#pragma unroll
  for (int k = 0; k < items; ++k)
    places[k] += memory.ranks.counts[warp][digit(keys[k])] + starts[digit(keys[k])];
  __syncthreads();

  // Through shared memory, so that neighbours are written together.
#pragma unroll
  for (int k = 0; k < items; ++k)
    if (there >> k & 1) memory.staged[places[k]] = keys[k];
  uint32_t positions[items];
#pragma unroll
  for (int k = 0; k < items; ++k) positions[k] = position_at(first + k * 32);
  if (has_digit) {
    const uint32_t before = sum_before(told, tile, kDigits);
    if (tile > 0) tell_sum_up_to_end(told, before + count);
    starts[threadIdx.x] = base + before - start;  // from a place in the tile to one among all
  }
  __syncthreads();
  // Not before, when other blocks may not have begun: they would be left without a tile.
  uint32_t ticket = 0;
  if (threadIdx.x == 0) ticket = atomicAdd(sort.ticket, 1u);
  uint32_t targets[items];
#pragma unroll
  for (int k = 0; k < items; ++k) {
    const uint32_t i = k * kSortThreads + threadIdx.x, key = i < tile_count ? memory.staged[i] : 0;
    targets[k] = i < tile_count ? starts[digit(key)] + i : ~0u;
    if (targets[k] < sort.count) to.keys[targets[k]] = key;
  }
  __syncthreads();
#pragma unroll
  for (int k = 0; k < items; ++k)
    if (there >> k & 1) memory.staged[places[k]] = positions[k];
  __syncthreads();
  uint32_t* out = is_last ? sort.positions : to.positions;
#pragma unroll
  for (int k = 0; k < items; ++k) {
    if (targets[k] >= sort.count) continue;
    const uint32_t position = memory.staged[k * kSortThreads + threadIdx.x];
    out[targets[k]] = position;
    if (is_last && size.rest_bits > 0) to.positions[targets[k]] = position;  // that ties are put in order from
  }
  return ticket;
}

// Puts the ties of a tile's positions in order.
template <int items>
__device__ __forceinline__ void order_ties(const Sort& sort, const SortSize& size, uint32_t begin) {
  const Pairs from = size.high_passes() % 2 ? sort.pairs[0] : sort.pairs[1];
  const Ties ties{from.keys, from.positions, sort.rests, size.used, sort.positions, sort.too_many_ties};
  ties.order_rows<items>(begin + threadIdx.x / 32 * 32 * items);
}

// Counts the digits of a tile's rests; and what tiles told is forgotten.
template <int items>
__device__ __forceinline__ void count_tile(const Sort& sort, const SortSize& size, uint32_t tile) {
  constexpr uint32_t kTile = kSortThreads * items;
  constexpr int kMaxRestPasses = passes_of(kMaxRestBits);
  __shared__ uint32_t counts[kMaxRestPasses * kDigits];
  const int passes = size.rest_passes();
  for (int i = int(threadIdx.x); i < passes * kDigits; i += kSortThreads) counts[i] = 0;
  static_assert(kSortThreads == 2 * kDigits);
  const int64_t copy = threadIdx.x / kDigits, told_by_tile = copy * sort.tiles + tile;
  sort.told[told_by_tile * kDigits + threadIdx.x % kDigits] = 0;
  __syncthreads();
  const uint32_t end = min((tile + 1) * kTile, sort.count);
  for (uint32_t i = tile * kTile + threadIdx.x; i < end; i += kSortThreads) {
    if (sort.highs[i] == kNoKey) continue;
    const uint64_t rest = sort.rests[i];
    for (int pass = -passes; pass < 0; ++pass) {
      const uint32_t word = uint32_t(rest >> 32 * size.rest_word(pass));
      atomicAdd(&counts[(passes + pass) * kDigits + size.digit(pass)(word)], 1u);
    }
  }
  __syncthreads();
  uint32_t* histograms = histogram_of(sort, size, -passes);
  for (int i = int(threadIdx.x); i < passes * kDigits; i += kSortThreads)
    if (counts[i] > 0) atomicAdd(histograms + i, counts[i]);
}

// What blocks do tile by tile, one stage after another: the passes over high words; and if there are rests, the
// ties; and if those are too many, a count of the rests' digits and all passes.
struct Stages {
  int ties, all, count;  // the stage of ties, the first of all passes, and behind the last

  __device__ explicit Stages(const SortSize& size)
      : ties(size.high_passes()),
        all(ties + 2),
        count(size.rest_bits > 0 ? all + size.rest_passes() + size.high_passes() : ties) {}
};
constexpr int kMaxStages = passes_of(kHighBits) + 2 + kMaxPasses;

template <int items>
__global__ void __launch_bounds__(kSortThreads, 2) sort_kernel(Sort sort) {
  wait_for_stream();
  __shared__ uint32_t next, tiles;
  const SortSize size = *sort.size;
  const Stages stages(size);
  constexpr uint32_t kTile = kSortThreads * items;
  if (threadIdx.x == 0) {
    tiles = max((min(size.count, sort.count) + kTile - 1) / kTile, 1u);
    next = atomicAdd(sort.ticket, 1u);
  }
  for (;;) {
    __syncthreads();
    const int stage = int(next / tiles);
    const uint32_t tile = next % tiles;
    if (stage >= stages.count) return;
    if (stage > 0) {
      if (threadIdx.x == 0) {
        while (*static_cast<volatile uint32_t*>(sort.done + stage - 1) < tiles) pause();
        __threadfence();
      }
      __syncthreads();
    }
    if (stage > stages.ties && *static_cast<volatile uint32_t*>(sort.too_many_ties) == 0) return;
    uint32_t ticket = 0;
    if (stage < stages.ties || stage >= stages.all) {
      const bool is_again = stage >= stages.all;
      const int pass = is_again ? stage - stages.all - size.rest_passes() : stage;
      ticket = sort_tile<items>(sort, size, pass, stage == (is_again ? stages.all : 0), tile);
    } else {
      if (stage == stages.ties) order_ties<items>(sort, size, tile * kTile);
      else count_tile<items>(sort, size, tile);
      if (threadIdx.x == 0) ticket = atomicAdd(sort.ticket, 1u);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      __threadfence();
      atomicAdd(sort.done + stage, 1u);
      next = ticket;
    }
  }
}

inline int sort_by_bits(const char* op, const Sort& sort, recis_stream_t stream) {
  const int items = sort_items(sort.count);
  const unsigned blocks = unsigned(sort.tiles < kSortBlocks ? sort.tiles : kSortBlocks);
  const auto kernel = items == 4    ? sort_kernel<4>
                      : items == 8  ? sort_kernel<8>
                      : items == 12 ? sort_kernel<12>
                                    : sort_kernel<16>;
  return launch(op, kernel, blocks, kSortThreads, 0, stream, sort);
}

}  // namespace recis
