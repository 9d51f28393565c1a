// From sorted ids to the distinct ones, and what goes with them.
#pragma once

#include "packed_ids.cuh"

namespace recis {

struct Results {
  int64_t* ids;
  uint32_t *table_offsets, *inverse, *positions, *starts, *count;
  uint32_t tables, total;
};

// The ids in order, as the sort leaves them.
struct Sorted {
  const Packing* packing;
  const uint32_t *keys, *positions;  // the highest word of each, and its position
  const uint32_t* words[kMaxWords];  // of positions

  __device__ uint32_t word_at(int word, uint32_t i) const {
    if (!packing->has(1)) return keys[i];
    return (word == 0 ? words[0] : word == 1 ? words[1] : words[2])[positions[i]];
  }
  __device__ Packed at(uint32_t i) const {
    Packed packed{};
    for (int word = 0; word < kMaxWords; ++word)
      if (packing->has(word)) packed.words[word] = word_at(word, i);
    return packed;
  }
};

// Some of the ids in order: a warp has `items` * 32 in a row, and lane i every 32nd from the i-th. At most
// 32 items.
template <int items>
struct SortedRun {
  uint32_t first;
  uint32_t heads, new_tables;  // bit k: whether the id, or the table, of a lane's item k is another than before

  // Reads them, and returns how many heads a warp has.
  __device__ uint32_t read(const Sorted& sorted, uint32_t begin) {
    const unsigned lane = threadIdx.x % 32;
    const uint32_t used = sorted.packing->size.used;
    first = begin + lane;
    heads = new_tables = first == 0 && used > 0;
    for (int word = 0; word < kMaxWords && sorted.packing->has(word); ++word) {
      const uint32_t of_table = sorted.packing->bits_of_table(word);
      uint32_t keys[items];
#pragma unroll
      for (int k = 0; k < items; ++k) {
        const uint32_t i = first + k * 32;
        keys[k] = i < used ? sorted.word_at(word, i) : 0;
      }
#pragma unroll
      for (int k = 0; k < items; ++k) {
        const uint32_t i = first + k * 32;
        uint32_t before = __shfl_up_sync(~0u, keys[k], 1);
        if (lane == 0 && i > 0 && i < used) before = sorted.word_at(word, i - 1);
        const uint32_t changed = i > 0 && i < used ? before ^ keys[k] : 0;
        heads |= uint32_t(changed != 0) << k;
        new_tables |= uint32_t((changed & of_table) != 0) << k;
      }
    }
    return __reduce_add_sync(~0u, unsigned(__popc(heads)));
  }

  // Writes what is known of them, if `before` ids are in the warps before. What position holds which id is
  // for later if there is a list of places.
  __device__ void write(const Sorted& sorted, uint32_t before, const Results& out, uint32_t* place_of) const {
    const unsigned lane = threadIdx.x % 32, up_to_lane = ~0u >> (31 - lane);
    const Packing& packing = *sorted.packing;
#pragma unroll
    for (int k = 0; k < items; ++k) {
      const bool is_head = heads >> k & 1;
      const unsigned heads_here = __ballot_sync(~0u, is_head);
      const uint32_t i = first + k * 32, place = before + __popc(heads_here & up_to_lane) - 1;
      before += __popc(heads_here);
      if (is_head) {
        const Packed packed = sorted.at(i);
        out.ids[place] = packing.id(packed);
        out.starts[place] = i;
        if (place_of) place_of[packed.words[0]] = place;
      }
      if (!place_of && i < packing.size.used) out.inverse[sorted.positions[i]] = place;
      // A table begins here, and those without ids between it and the one before.
      for (unsigned lanes = __ballot_sync(~0u, new_tables >> k & 1); lanes != 0; lanes &= lanes - 1) {
        const int source = __ffs(int(lanes)) - 1;
        const uint32_t at = i - lane + uint32_t(source), next = __shfl_sync(~0u, place, source);
        const uint32_t from = at == 0 ? 0 : packing.table(sorted.at(at - 1)) + 1;
        const uint32_t to = packing.table(sorted.at(at));
        for (uint32_t table = from + lane; table <= to; table += 32) out.table_offsets[table] = next;
      }
    }
  }
};

// What is behind the last id. To be called by all threads of a block.
__device__ __forceinline__ void write_end(const Sorted& sorted, uint32_t distinct, const Results& out) {
  const uint32_t used = sorted.packing->size.used;
  const uint32_t from = used > 0 ? sorted.packing->table(sorted.at(used - 1)) + 1 : 0;
  for (uint32_t table = from + threadIdx.x; table <= out.tables; table += blockDim.x)
    out.table_offsets[table] = distinct;
  if (threadIdx.x > 0) return;
  out.starts[distinct] = used;
  if (out.count) *out.count = distinct;
}

// The sum of `count`, the same for all lanes of a warp, over the warps before; and over all warps.
struct WarpSums {
  uint32_t before, all;
};
__device__ __forceinline__ WarpSums sum_over_warps(uint32_t count, uint32_t (&counts)[32]) {
  const unsigned warp = threadIdx.x / 32;
  if (threadIdx.x % 32 == 0) counts[warp] = count;
  __syncthreads();
  WarpSums sums{};
  for (unsigned other = 0; other < blockDim.x / 32; ++other) {
    sums.before += other < warp ? counts[other] : 0;
    sums.all += counts[other];
  }
  return sums;
}

}  // namespace recis
