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
  const uint32_t *highs, *positions;  // the high word of each, and its position
  const uint64_t* rests;              // of positions, if keys are long
};

// Some of the ids in order: a warp has `items` * 32 in a row, and lane i every 32nd from the i-th. At most
// 32 items.
template <int items>
struct SortedRun {
  uint32_t first;
  uint32_t heads, new_tables;  // bit k: whether the id, or the table, of a lane's item k is another than before
  uint32_t positions[items];
  uint64_t rests[items];

  // Reads them, and returns how many heads a warp has. Positions are read if they are wanted.
  __device__ uint32_t read(const Sorted& sorted, uint32_t begin, bool with_positions) {
    const unsigned lane = threadIdx.x % 32;
    const uint32_t used = sorted.packing->size.used, id_bits = sorted.packing->high_id_bits;
    const bool is_long = sorted.packing->is_long();
    uint32_t highs[items];
    first = begin + lane;
    heads = new_tables = first == 0 && used > 0;
#pragma unroll
    for (int k = 0; k < items; ++k) {
      const uint32_t i = first + k * 32;
      highs[k] = i < used ? sorted.highs[i] : 0;
      positions[k] = with_positions && i < used ? sorted.positions[i] : 0;
      rests[k] = 0;
    }
    if (is_long)
#pragma unroll
      for (int k = 0; k < items; ++k)
        if (first + k * 32 < used) rests[k] = sorted.rests[positions[k]];
#pragma unroll
    for (int k = 0; k < items; ++k) {
      const uint32_t i = first + k * 32;
      const bool has_before = i > 0 && i < used;
      uint32_t before = __shfl_up_sync(~0u, highs[k], 1);
      if (lane == 0 && has_before) before = sorted.highs[i - 1];
      const uint32_t changed = has_before ? before ^ highs[k] : 0;
      heads |= uint32_t(changed != 0) << k;
      new_tables |= uint32_t(changed >> id_bits != 0) << k;
      if (!is_long) continue;
      uint64_t rest_before = __shfl_up_sync(~0u, rests[k], 1);
      if (lane == 0 && has_before) rest_before = sorted.rests[sorted.positions[i - 1]];
      heads |= uint32_t(has_before && rest_before != rests[k]) << k;
    }
    return __reduce_add_sync(~0u, unsigned(__popc(heads)));
  }

  // Writes what is known of them, if `before` ids are in the warps before. What position holds which id is
  // for later if there is a list of places; if not, positions are wanted.
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
        out.ids[place] = packing.id({sorted.highs[i], rests[k]});
        out.starts[place] = i;
        if (place_of) place_of[sorted.highs[i]] = place;
      }
      if (!place_of && i < packing.size.used) out.inverse[positions[k]] = place;
      // A table begins here, and those without ids between it and the one before.
      for (unsigned lanes = __ballot_sync(~0u, new_tables >> k & 1); lanes != 0; lanes &= lanes - 1) {
        const int source = __ffs(int(lanes)) - 1;
        const uint32_t at = i - lane + uint32_t(source), next = __shfl_sync(~0u, place, source);
        const uint32_t from = at == 0 ? 0 : packing.table(sorted.highs[at - 1]) + 1;
        const uint32_t to = packing.table(sorted.highs[at]);
        for (uint32_t table = from + lane; table <= to; table += 32) out.table_offsets[table] = next;
      }
    }
  }
};

// What is behind the last id. To be called by all threads of a block.
__device__ __forceinline__ void write_end(const Sorted& sorted, uint32_t distinct, const Results& out) {
  const uint32_t used = sorted.packing->size.used;
  const uint32_t from = used > 0 ? sorted.packing->table(sorted.highs[used - 1]) + 1 : 0;
  for (uint32_t table = from + threadIdx.x; table <= out.tables; table += blockDim.x)
    out.table_offsets[table] = distinct;
  if (threadIdx.x > 0) return;
  out.starts[distinct] = used;
  if (out.count) *out.count = distinct;
}

}  // namespace recis
