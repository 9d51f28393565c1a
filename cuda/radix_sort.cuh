// A stable radix sort of numbers whose length only the device knows: one launch, and a pass over the data
// for every eight bits that there are.
//
// A pass moves each tile of the data once ("onesweep"): a block ranks the items of a tile, looks back at
// how many items of each digit earlier tiles have, and writes. Blocks take tiles by ticket, pass after
// pass, and wait only for what has an earlier ticket, so it does not matter how many run at once.
#pragma once

#include "look_back.cuh"

namespace recis {

// Keys are words of 32 bits, the lowest first, and a word at most four digits.
constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits, kPassesOfWord = 4;
constexpr int kMaxWords = 3, kMaxPasses = 10;  // 80 bits

// A digit of a word.
struct Digit {
  int word;
  uint32_t shift, mask;
  __device__ uint32_t operator()(uint32_t key) const { return key >> shift & mask; }
};

// How many passes keys of `bits` bits take, at least one, and the digit of each.
__host__ __device__ constexpr int passes_of(uint32_t bits) {
  return bits == 0 ? 1 : int(bits + kDigitBits - 1) / kDigitBits;
}
__device__ __forceinline__ Digit digit_of(uint32_t bits, int pass) {
  const int word = pass / kPassesOfWord;
  const uint32_t bits_here = min(32u, bits - 32u * uint32_t(word));
  const uint32_t passes_here = uint32_t(passes_of(bits_here));
  const uint32_t width = (bits_here + passes_here - 1) / passes_here;  // of about the same width each
  return {word, uint32_t(pass % kPassesOfWord) * width, (1u << width) - 1};
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

// What the sort must know of its keys, in device memory.
struct SortSize {
  uint32_t bits;  // of a key, at least 1, and no multiple of 32
  uint32_t used;  // so many positions have a key
  uint32_t count; // of so many; those behind are left out
};
// The highest word of a position that has no key. It is left out of the order.
constexpr uint32_t kNoKey = ~0u;

struct Pairs {
  uint32_t *keys, *positions;  // [count]
};

struct Sort {
  const SortSize* size;
  uint32_t count, tiles;             // at most
  const uint32_t* words[kMaxWords];  // [count] each: the keys, as many words as they have
  const uint32_t* histograms;        // [passes, kDigits] how often each digit occurs
  // A pass writes one of these, and the next one reads it; but the last one writes positions to `positions`.
  Pairs pairs[2];
  uint32_t* positions;  // [count]
  // Zeros: the next ticket, how many tiles of each pass are done [kMaxPasses], and what tiles tell of
  // their digits [2, tiles, kDigits].
  uint32_t *ticket, *done, *told;

  // The word of the highest digits of all keys in order, when the sort is done.
  __device__ const uint32_t* sorted() const { return pairs[(passes_of(size->bits) - 1) % 2].keys; }
};

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

// Sorts a tile by the digit of a pass. Thread 0 gets the next ticket, which is taken meanwhile.
template <int items>
__device__ __forceinline__ uint32_t sort_tile(const Sort& sort, uint32_t bits, int pass, uint32_t tile) {
  constexpr uint32_t kTile = kSortThreads * items;
  __shared__ union {
    Ranks<kSortWarps, items> ranks;
    uint32_t staged[kTile];
  } memory;
  __shared__ uint32_t starts[kDigits], ends[2][kDigits / 32], tile_count;
  const Digit digit = digit_of(bits, pass);
  // Where a word begins, keys come from their positions.
  const uint32_t* new_word = pass == 0                   ? sort.words[0]
                             : pass == kPassesOfWord     ? sort.words[1]
                             : pass == 2 * kPassesOfWord ? sort.words[2]
                                                         : nullptr;
  const bool is_first = pass == 0, is_last = pass == passes_of(bits) - 1;
  const bool is_odd = pass % 2;
  const Pairs from = is_odd ? sort.pairs[0] : sort.pairs[1], to = is_odd ? sort.pairs[1] : sort.pairs[0];
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;

  uint32_t keys[items], places[items], there = 0;
  const uint32_t first = tile * kTile + warp * 32 * items + lane;
  // The first pass leaves out the positions that have no key.
  const uint32_t end = min(is_first ? sort.size->count : sort.size->used, sort.count);
  const uint32_t* highest = sort.words[(bits - 1) / 32];
  auto position_at = [&](uint32_t i) { return is_first ? i : i < end ? __ldcg(from.positions + i) : 0; };
#pragma unroll
  for (int k = 0; k < items; ++k) {
    const uint32_t i = first + k * 32;
    keys[k] = i < end ? __ldcg(new_word ? new_word + position_at(i) : from.keys + i) : 0;
    const bool has_key = i < end && (!is_first || (bits < 32 ? keys[k] : __ldcg(highest + i)) != kNoKey);
    there |= uint32_t(has_key) << k;
  }
  memory.ranks.within_warp(digit, keys, there, places);
  const bool has_digit = threadIdx.x < kDigits;
  const uint32_t everywhere = has_digit ? sort.histograms[pass * kDigits + threadIdx.x] : 0;
  __syncthreads();

  const uint32_t count = memory.ranks.over_warps();
  const int64_t word = int64_t(tile) * kDigits + threadIdx.x, words = int64_t(sort.tiles) * kDigits;
  uint32_t* told = sort.told + (pass % 2) * words + word;
  if (has_digit) {
    if (tile == 0) tell_sum_up_to_end(told, count);
    else tell_sum(told, count);
    sort.told[((pass + 1) % 2) * words + word] = 0;  // for the next pass; the one before has no use for it
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
  for (int k = 0; k < items; ++k)
    if (targets[k] < sort.count) out[targets[k]] = memory.staged[k * kSortThreads + threadIdx.x];
  return ticket;
}

template <int items>
__global__ void __launch_bounds__(kSortThreads, 2) sort_kernel(Sort sort) {
  wait_for_stream();
  __shared__ uint32_t next, tiles;
  const uint32_t bits = sort.size->bits;
  const int passes = passes_of(bits);
  if (threadIdx.x == 0) {
    constexpr uint32_t kTile = kSortThreads * items;
    tiles = max((min(sort.size->count, sort.count) + kTile - 1) / kTile, 1u);
    next = atomicAdd(sort.ticket, 1u);
  }
  for (;;) {
    __syncthreads();
    const int pass = int(next / tiles);
    const uint32_t tile = next % tiles;
    if (pass >= passes) return;
    if (pass > 0) {
      if (threadIdx.x == 0) {
        while (*static_cast<volatile uint32_t*>(sort.done + pass - 1) < tiles) pause();
        __threadfence();
      }
      __syncthreads();
    }
    const uint32_t ticket = sort_tile<items>(sort, bits, pass, tile);
    __syncthreads();
    if (threadIdx.x == 0) {
      __threadfence();
      atomicAdd(sort.done + pass, 1u);
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
