// Ids and their tables as short numbers: only the bits that differ anywhere in the batch.
#pragma once

#include "radix_sort.cuh"

namespace recis {

// An id and its table as numbers whose order is RecIS's: by table, then by the low 16 bits of the id, then
// by the others. A position that holds no id has the number of tables for a table.
struct Key {
  uint64_t id;
  uint32_t table;
};
__device__ __forceinline__ uint64_t rotated(int64_t id) { return uint64_t(id) << 48 | uint64_t(id) >> 16; }
__device__ __forceinline__ int64_t id_of(uint64_t rotated) { return int64_t(rotated << 16 | rotated >> 48); }

// Which bits were seen set and which were seen clear: of the halves of ids, and of tables. And how many ids
// there are, and among them of those that are listed.
struct alignas(16) Seen {
  uint32_t set[3], clear[3], used, listed;

  __device__ void add(Key key, bool is_listed) {
    set[2] |= key.table, clear[2] |= ~key.table;
    set[0] |= uint32_t(key.id), clear[0] |= uint32_t(~key.id);
    set[1] |= uint32_t(key.id >> 32), clear[1] |= uint32_t(~key.id >> 32);
    ++used;
    listed += is_listed;
  }
  __device__ void add(const Seen& other) {
    for (int k = 0; k < 3; ++k) set[k] |= other.set[k], clear[k] |= other.clear[k];
    used += other.used;
    listed += other.listed;
  }
};

// All that the threads of a block have seen: in `all`, shared memory, behind the barrier that follows.
__device__ __forceinline__ void see_together(const Seen& mine, Seen& all) {
  if (threadIdx.x == 0) all = {};
  __syncthreads();
  for (int k = 0; k < 3; ++k) {
    const uint32_t set = __reduce_or_sync(~0u, mine.set[k]), clear = __reduce_or_sync(~0u, mine.clear[k]);
    if (threadIdx.x % 32 == 0) atomicOr(&all.set[k], set), atomicOr(&all.clear[k], clear);
  }
  const uint32_t used = __reduce_add_sync(~0u, mine.used), listed = __reduce_add_sync(~0u, mine.listed);
  if (threadIdx.x % 32 == 0) atomicAdd(&all.used, used), atomicAdd(&all.listed, listed);
}

// Takes the bits that vary out of numbers that agree in all others, in order, and puts them back. By moves
// of distances 1, 2, 4 and so on, as in Hacker's Delight, 7-4.
template <class Number, int distances>
struct BitPacking {
  Number varying, fixed;
  Number moves[distances];  // the bits that each distance moves, where they come from
  // The same for bits that lie in two runs at most, as those of numbers below a bound do: what each run is, and how
  // far it moves.
  Number runs[2];
  int shifts[2];
  bool has_two_runs;

  __device__ void set(Number seen_set, Number seen_clear) {
    varying = seen_set & seen_clear;
    fixed = seen_set & ~seen_clear;
    Number rest = varying;
    int below = 0;
    for (int run = 0; run < 2; ++run) {
      const Number lowest = rest & (~rest + 1);
      runs[run] = rest & ~(rest + lowest);
      shifts[run] = rest ? __ffsll(int64_t(lowest)) - 1 - below : 0;
      below += __popcll(uint64_t(runs[run]));
      rest ^= runs[run];
    }
    has_two_runs = rest == 0;
    Number left = varying, gaps = ~varying << 1;
    for (int k = 0; k < distances; ++k) {
      // The bits with an odd number of gaps below them.
      Number odd = gaps;
      for (int distance = 1; distance < 1 << distances; distance *= 2) odd ^= odd << distance;
      moves[k] = odd & left;
      left = (left ^ moves[k]) | moves[k] >> (1 << k);
      gaps &= ~odd;
    }
  }

  __device__ Number pack(Number number) const {
    number &= varying;
#pragma unroll
    for (int k = 0; k < distances; ++k) {
      if (moves[k] == 0) continue;  // as most are, where the bits that vary are neighbours
      const Number moved = number & moves[k];
      number = (number ^ moved) | moved >> (1 << k);
    }
    return number;
  }
  __device__ Number unpack(Number packed) const {
#pragma unroll
    for (int k = distances - 1; k >= 0; --k)
      packed = (packed & ~moves[k]) | (packed << (1 << k) & moves[k]);
    return (packed & varying) | fixed;
  }
};

// A packed key: the bits of the id, above them those of the table. The high word has the highest of them all,
// and the rest is what it has no room for.
struct Packed {
  uint32_t high;
  uint64_t rest;
};

struct Packing {
  BitPacking<uint64_t, 6> ids;
  BitPacking<uint32_t, 5> tables;
  uint32_t high_id_bits;  // of the id in the high word
  SortSize size;

  // To be called by all threads of a block; behind the barrier that follows, it is set.
  __device__ void set(const Seen& seen) {
    // By two warps at once: each is one long chain of instructions.
    if (threadIdx.x == 0) {
      ids.set(uint64_t(seen.set[1]) << 32 | seen.set[0], uint64_t(seen.clear[1]) << 32 | seen.clear[0]);
      const uint32_t id_bits = uint32_t(__popcll(ids.varying));
      const uint32_t bits = id_bits + uint32_t(__popc(seen.set[2] & seen.clear[2]));
      const uint32_t rest_bits = bits > kHighBits ? bits - high_bits_of_long(seen.used) : 0;
      high_id_bits = id_bits - rest_bits;  // tables have 12 bits at most
      size = {max(bits, 1u), rest_bits, seen.used, ~0u};
    }
    if (threadIdx.x == 32) tables.set(seen.set[2], seen.clear[2]);
  }
  // From then on the order is of the first `count` positions only.
  __device__ void list_first(uint32_t count, const Seen& seen) {
    size.count = count;
    size.used = seen.listed;
  }

  __device__ bool is_long() const { return size.rest_bits > 0; }

  __device__ Packed pack(Key key) const {
    const uint64_t id = ids.pack(key.id);
    return {uint32_t(id >> size.rest_bits) | tables.pack(key.table) << high_id_bits,
            id & ((uint64_t(1) << size.rest_bits) - 1)};
  }
  __device__ int64_t id(const Packed& packed) const {
    const uint64_t high = packed.high & ((1u << high_id_bits) - 1);
    return id_of(ids.unpack(high << size.rest_bits | packed.rest));
  }
  __device__ uint32_t table(uint32_t high) const { return tables.unpack(high >> high_id_bits); }

  // Whether RegisterPacking does as well.
  __device__ bool has_two_runs() const { return ids.has_two_runs && tables.has_two_runs; }
};

// The packing of most batches, for registers.
template <bool is_long>
class RegisterPacking {
 public:
  __device__ explicit RegisterPacking(const Packing& packing)
      : ids_(packing.ids),
        tables_(packing.tables),
        high_id_bits_(packing.high_id_bits),
        rest_bits_(packing.size.rest_bits) {}

  __device__ Packed pack(Key key) const {
    const uint64_t id = ids_.pack(key.id);
    const uint32_t table = tables_.pack(key.table) << high_id_bits_;
    if (!is_long) return {uint32_t(id) | table, 0};
    return {uint32_t(id >> rest_bits_) | table, id & ((uint64_t(1) << rest_bits_) - 1)};
  }

 private:
  template <class Number>
  struct Runs {
    Number runs[2];
    int shifts[2];
    template <int distances>
    __device__ explicit Runs(const BitPacking<Number, distances>& bits)
        : runs{bits.runs[0], bits.runs[1]}, shifts{bits.shifts[0], bits.shifts[1]} {}
    __device__ Number pack(Number number) const {
      return (number & runs[0]) >> shifts[0] | (number & runs[1]) >> shifts[1];
    }
  };
  Runs<uint64_t> ids_;
  Runs<uint32_t> tables_;
  uint32_t high_id_bits_, rest_bits_;
};

}  // namespace recis
