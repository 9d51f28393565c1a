// Distinct ids without an order of their positions: a mark for every packed id that there is, counted up.
#pragma once

#include "sorted_ids.cuh"
#include "warp_sums.cuh"

namespace recis {

// Of 32 packed ids in a row: which of them there are, and how many before.
struct alignas(8) Mark {
  uint32_t bits, before;
};

struct Marks {
  Mark* marks;       // [2^bits / 32 + 1], zeros at first
  uint32_t* key_of;  // the packed id of each place

  // One word at least.
  __device__ static uint32_t words(uint32_t bits) { return ((1u << bits) + 31) / 32; }
  // Whether an id is marked, as far as this thread knows.
  __device__ __forceinline__ static bool is_set(const uint32_t& bits, uint32_t key) {
    return *static_cast<const volatile uint32_t*>(&bits) >> key % 32 & 1;
  }
  __device__ __forceinline__ void set(uint32_t key) const {
    if (!is_set(marks[key / 32].bits, key)) atomicOr(&marks[key / 32].bits, 1u << key % 32);
  }
  // Sets those of a word.
  __device__ __forceinline__ void set_all(uint32_t word, uint32_t bits) const {
    if (bits & ~*static_cast<const volatile uint32_t*>(&marks[word].bits)) atomicOr(&marks[word].bits, bits);
  }
  // How many there are below one; if that is there, it is its place.
  __device__ __forceinline__ uint32_t before(uint32_t key) const {
    const Mark mark = marks[key / 32];
    return mark.before + uint32_t(__popc(mark.bits & ((1u << key % 32) - 1)));
  }
};

// Marks that a block sets by itself at first, as many as there is room for in its shared memory.
constexpr uint32_t kBlockMarkBits = 17, kBlockMarkWords = (1u << kBlockMarkBits) / 32;

constexpr int kMarkThreads = 128;  // each a word
constexpr int64_t mark_tiles(int64_t words) { return (words + kMarkThreads - 1) / kMarkThreads; }

// Counts a block's marks up, and writes the ids that they stand for. `told` is of the blocks before.
__device__ __forceinline__ void count_marks(const Marks& marks, const Packing& packing, uint32_t* told,
                                            const Results& out) {
  __shared__ uint32_t counts[32], before_tile;
  const uint32_t words = Marks::words(packing.size.bits), tile = blockIdx.x;
  if (tile * kMarkThreads >= words) return;
  const uint32_t word = tile * kMarkThreads + threadIdx.x, lane = threadIdx.x % 32;
  const uint32_t bits = word < words ? marks.marks[word].bits : 0;
  uint32_t before = uint32_t(__popc(bits));
  for (unsigned step = 1; step < 32; step *= 2) {
    const uint32_t below = __shfl_up_sync(~0u, before, step);
    if (lane >= step) before += below;
  }
  const WarpSums sums = sum_over_warps(__shfl_sync(~0u, before, 31), counts);
  if (threadIdx.x < 32) {
    if (lane == 0 && tile > 0) tell_sum(told + tile, sums.all);
    const uint32_t sum = sum_before_by_warp(told, tile);
    if (lane == 0) {
      before_tile = sum;
      tell_sum_up_to_end(told + tile, sum + sums.all);
    }
  }
  __syncthreads();
  before += before_tile + sums.before - uint32_t(__popc(bits));
  if (word < words) marks.marks[word].before = before;
  if (word == words - 1) {
    const uint32_t distinct = before + uint32_t(__popc(bits));
    marks.marks[words] = {0, distinct};
    if (out.count) *out.count = distinct;
  }
#pragma unroll 4
  for (unsigned source = 0; source < 32; ++source) {
    const uint32_t bits_there = __shfl_sync(~0u, bits, source), first = __shfl_sync(~0u, before, source);
    if (!(bits_there >> lane & 1)) continue;
    const uint32_t place = first + uint32_t(__popc(bits_there & ((1u << lane) - 1)));
    const uint32_t key = (word - lane + source) * 32 + lane;
    marks.key_of[place] = key;
    out.ids[place] = packing.id({key, 0});
  }
}

// Where each table's ids begin; by all threads of a block.
__device__ __forceinline__ void write_tables(const Marks& marks, const Packing& packing, const Results& out) {
  const uint32_t end = 1u << packing.size.bits;
  for (uint32_t table = threadIdx.x; table <= out.tables; table += blockDim.x) {
    // The first packed id of a table that is not below: those of tables ascend as the tables do.
    uint32_t low = 0, high = end >> packing.high_id_bits;
    while (low < high) {
      const uint32_t middle = (low + high) / 2;
      if (packing.tables.unpack(middle) < table) low = middle + 1;
      else high = middle;
    }
    const uint32_t key = low << packing.high_id_bits;
    out.table_offsets[table] = marks.before(min(key, Marks::words(packing.size.bits) * 32));
  }
}

// Where the listed positions of each id begin.
__device__ __forceinline__ void write_starts(const Marks& marks, const SortSize& size, const uint32_t* sorted,
                                             const Results& out) {
  const uint32_t distinct = marks.marks[Marks::words(size.bits)].before;
  for (int64_t place = grid_thread(); place <= distinct; place += grid_threads()) {
    uint32_t low = 0, high = size.used;
    if (place == distinct) low = high;
    const uint32_t key = low < high ? marks.key_of[place] : 0;
    while (low < high) {
      const uint32_t middle = (low + high) / 2;
      if (sorted[middle] < key) low = middle + 1;
      else high = middle;
    }
    out.starts[place] = low;
  }
}

}  // namespace recis
