// From d_y to the gradients of a tile's embeddings: d_x = d_y W in parts, summed over the ids that share one as it
// is made. A block keeps 128 rows of d_y and goes through a range of the columns.
#pragma once

#include "linear_tile_halves.cuh"

namespace recis {

template <class F>
struct InputShared {
  static constexpr int kStages = 4, kColumns = 128 / F::kParts;  // of a stage: two patches of the weight
  LineTile8<kTileRows, kTileColumns / kUnit * F::kParts> d_y;
  UnitTile<kTileColumns, kColumns / kUnit * F::kParts> weight[kStages];
  float unscale[kStages][2];
  Ring<kStages> ring;
  Gate d_y_filled;
  uint32_t most_row, most_column;  // bits of the largest of the patches' norms
  uint32_t terms;                  // of a sum, at most
};

// Sums of up to 2^kPairLogTerms terms of bfloat16 factors are in pairs: that leaves 18 bits below the largest that a
// term can be. A typical one of the batch's largest rows has 13 of them, one of a row a thirty-second as large still the
// eight that its factors have. For eleven bits it would be too few.
template <class F>
constexpr int kPairLogTerms = F::kBfloat ? 12 : -1;

struct HalfInput {
  HalfBlocks d_y, weight;  // of a layer of one output tile
  const HalfDirectory* directory;
  int padded_rows, groups;
  int first_column, columns;  // of the tile
  OrderFree sums;
};

// The largest of some norms, by all threads of a block; there behind the barrier that follows.
__device__ __forceinline__ void find_most(const float* norms, int count, uint32_t& most) {
  uint32_t mine = 0;  // the bits of positive floats are in their order
  for (int i = int(threadIdx.x); i < count; i += kProductThreads) mine = max(mine, __float_as_uint(norms[i]));
  mine = __reduce_max_sync(~0u, mine);
  if (threadIdx.x % 32 == 0) atomicMax(&most, mine);
}
// Likewise a sum.
__device__ __forceinline__ void add_up(const uint32_t* counts, int count, uint32_t& sum) {
  uint32_t mine = 0;
  for (int i = int(threadIdx.x); i < count; i += kProductThreads) mine += counts[i];
  mine = __reduce_add_sync(~0u, mine);
  if (threadIdx.x % 32 == 0) atomicAdd(&sum, mine);
}

// By one thread.
template <class F>
__device__ __forceinline__ void bring_input(const HalfInput& p, int first_row, int begin, int end,
                                            InputShared<F>& shared) {
  using Shared = InputShared<F>;
  constexpr int kGroups = Shared::kColumns / kUnit;
  shared.d_y_filled.arrive_expecting(sizeof shared.d_y.bytes);
  constexpr int kLineUnits = kTileColumns / kUnit * F::kParts;
  shared.d_y_filled.copy_async(shared.d_y.bytes, p.d_y.units + int64_t(first_row) * kLineUnits,
                               sizeof shared.d_y.bytes);
  const auto unscale = [&](int tile) {
    const int group = p.first_column / kUnit + tile * kGroups;
    return float2{p.weight.unscale[min(group, p.groups - 1)],
                  p.weight.unscale[min(group + kGroups / 2, p.groups - 1)]};
  };
  float2 next = unscale(begin);
  for (int tile = begin; tile < end; ++tile) {
    const Slot<Shared::kStages> slot(tile - begin);
    Gate& filled = shared.ring.filled[slot.stage];
    shared.ring.free[slot.stage].wait(slot.phase ^ 1);
    shared.unscale[slot.stage][0] = next.x;
    shared.unscale[slot.stage][1] = next.y;
    auto& weight = shared.weight[slot.stage].bytes;
    filled.arrive_expecting(sizeof weight);
    filled.copy_async(weight, p.weight.units + int64_t(p.first_column / kUnit + tile * kGroups) * F::kParts * kTileColumns,
                      sizeof weight);
    next = unscale(tile + 1);
  }
}

// The least power of two above a float, by its bits; as far as its inverse is one too.
__device__ __forceinline__ int log_above(uint32_t bits) { return min(max(int(bits >> 23) - 126, -126), 126); }
__device__ __forceinline__ float power_of_two(int log) { return __uint_as_float(uint32_t(log + 127) << 23); }

// Not of infinities and NaN: their neighbour must not notice.
__device__ __forceinline__ int whole_of(float x) { return x - x == 0 ? __float2int_rn(x) : 0; }

template <class F, bool unordered>
__global__ void __launch_bounds__(kProductThreads, 1) half_input_kernel(const HalfInput p, unsigned ranges) {
  wait_for_stream();
#if defined(RECIS_WGMMA) || defined(RECIS_SIMT)
  using Shared = InputShared<F>;
  constexpr int kUnits = Shared::kColumns / kUnit;
  auto& shared = *dynamic_shared<Shared>();
  const HalfDirectory::Run* const run = p.directory->find(p.first_column);
  if (!run || run->columns != p.columns || run->dim != p.sums.dim) return;
  const uint32_t* const places = run->places;
  if (threadIdx.x == 0) {
    shared.ring.make(1);
    shared.d_y_filled.make(1);
    shared.most_row = shared.most_column = shared.terms = 0;
  }
  __syncthreads();
  if constexpr (!unordered) {
    find_most(p.d_y.norm, p.padded_rows / F::kStep, shared.most_row);
    find_most(p.weight.norm + p.first_column / kUnit, p.columns / kUnit, shared.most_column);
    add_up(run->repeats, run->blocks, shared.terms);
    __syncthreads();
  }
  const int row_tiles = p.padded_rows / kTileRows, first_row = int(blockIdx.x) % row_tiles * kTileRows;
  const int64_t range = blockIdx.x / row_tiles, tiles = (p.columns + Shared::kColumns - 1) / Shared::kColumns;
  const int begin = int(tiles * range / ranges), end = int(tiles * (range + 1) / ranges);
  const int group = int(threadIdx.x) / kGroupThreads, lane = int(threadIdx.x) % 32;
  if (group == kGroups) {
    if (threadIdx.x % kGroupThreads == 0) bring_input<F>(p, first_row, begin, end, shared);
    return;
  }
  const int row = first_row + int(threadIdx.x) / 32 * 16 + lane / 4;
  float row_unscale = p.d_y.unscale[row / F::kStep], column_share = 1;
  bool in_pairs = false;
  if constexpr (!unordered) {
    // To whole units by powers of two: nothing else is rounded. No product of a row and a column is above that of
    // their norms.
    const int log_terms = 32 - __clz(int(max(shared.terms, 1u) - 1));
    const int log_row = log_above(shared.most_row), log_column = log_above(shared.most_column);
    in_pairs = log_terms <= kPairLogTerms<F>;
    const int bits = in_pairs ? kPairBits : kSumBits;
    // In this order: the product of the two powers may be infinite.
    row_unscale = row_unscale * power_of_two(-log_row) * power_of_two(bits - log_terms);
    column_share = power_of_two(-log_column);
    if (blockIdx.x == 0 && threadIdx.x == 0) {
      p.sums.units->unit = order_free_unit(log_row + log_column, log_terms, bits);
      p.sums.units->in_pairs = in_pairs;
    }
  }
  const OrderFreeRows rows = order_free_rows(p.sums);
  const int dim = p.sums.dim, embedding_units = dim / kUnit;
  unsigned long long* const sums = own_sums(p.sums, rows) + lane % 4;
  float* const d_embeddings = p.sums.d_embeddings + int64_t(rows.first) * dim + lane % 4 * 2;
  shared.d_y_filled.wait(0);
  for (int tile = begin; tile < end; ++tile) {
    const Slot<Shared::kStages> slot(tile - begin);
    const int first_unit = tile * kUnits;
    uint32_t place[kUnits][2];  // of the embedding that a unit of the columns is of, in the two rows
    int position = first_unit / embedding_units, unit = first_unit % embedding_units;
#pragma unroll
    for (int j = 0; j < kUnits; ++j) {
      const bool there = first_unit + j < p.columns / kUnit;
#pragma unroll
      for (int half = 0; half < 2; ++half)
        place[j][half] = there ? places[int64_t(position) * p.padded_rows + row + 8 * half] : kNowhere;
      if (++unit == embedding_units) unit = 0, ++position;
    }
    float part[Shared::kColumns / 2];
    shared.ring.filled[slot.stage].wait(slot.phase);
    multiply_tiles<F, false, true, kTileColumns>(part, shared.d_y, shared.weight[slot.stage], group * 64);
    const float unscale[2] = {unscale_of(row_unscale, shared.unscale[slot.stage][0] * column_share),
                              unscale_of(row_unscale, shared.unscale[slot.stage][1] * column_share)};
    wgmma_wait();
    shared.ring.free[slot.stage].arrive();
    // Calls add(offset, terms) for every two terms, and where they are among the gradients of embeddings.
    const auto for_each_term = [&](auto add) {
      int unit = first_unit % embedding_units;
#pragma unroll
      for (int j = 0; j < kUnits; ++j) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          if (place[j][half] >= rows.count) continue;  // it is nowhere, or the table is another one
          const float by = unscale[j / (kUnits / 2)];
          add(place[j][half] * uint32_t(dim) + uint32_t(unit * kUnit),
              float2{part[4 * j + 2 * half] * by, part[4 * j + 2 * half + 1] * by});
        }
        if (++unit == embedding_units) unit = 0;
      }
    };
    if constexpr (unordered) {
      for_each_term([&](uint32_t offset, float2 terms) { add_unordered(d_embeddings + offset, terms); });
    } else {
      float all = 0;  // not a number, if a term is none or infinite
      const auto note = [&](float2 terms) { all = fmaf(terms.x, 0, fmaf(terms.y, 0, all)); };
      if (in_pairs)
        for_each_term([&](uint32_t offset, float2 terms) {
          note(terms);
          add_term(sums + offset / 2, pair_of(whole_of(terms.x), whole_of(terms.y)));
        });
      else
        for_each_term([&](uint32_t offset, float2 terms) {
          note(terms);
          add_term(sums + offset, __float2ll_rn(terms.x));
          add_term(sums + offset + 4, __float2ll_rn(terms.y));
        });
      if (all != 0)
        for_each_term([&](uint32_t offset, float2 terms) {
          if (terms.x - terms.x != 0) atomicAdd(d_embeddings + offset, terms.x);
          if (terms.y - terms.y != 0) atomicAdd(d_embeddings + offset + 1, terms.y);
        });
    }
  }
#endif
}

}  // namespace recis
