// From d_y to the gradients of a tile's embeddings: d_x = d_y W in parts, summed over the ids that share one as it
// is made. A block keeps 128 rows of d_y and goes through a range of the columns.
#pragma once

#include "linear_tile_halves.cuh"

namespace recis {

template <class F>
struct InputShared {
  static constexpr int kStages = 4, kColumns = 128 / F::kParts;  // of a stage: two patches of the weight
  LineTile8<kTileRows, kTileColumns / kUnit * F::kParts> d_y;
  struct Stage {
    UnitTile<kTileColumns, kColumns / kUnit * F::kParts> weight;
    uint32_t places[kColumns / kUnit][kTileRows];  // of the positions that have some of the columns
    float unscale[2], norm[2];                     // of the patches
  } stage[kStages];
  Ring<kStages> ring;
  Gate d_y_filled;
  uint32_t most_row, most_column;  // bits of the largest norms
  uint32_t terms;                  // of a sum, at most
};

// Sums of up to 2^kMostLogTerms terms of factors in one part are in pairs. A typical term has 3.5 bits less than the
// norms of its row and column allow: the smallest of a class keep so many bits below the latter that to round them
// does about as much to a term as rounding the factors has done. Classes reach down so many powers of two, at least.
template <class F>
struct Pairs {
  static constexpr int kMostLogTerms = F::kParts == 1 ? 12 : -1;
  static constexpr int kKept = F::kBfloat ? 11 : 14, kReach = 16;

  // Of how many powers of two a class is.
  __device__ __forceinline__ static int class_log(int log_terms) { return kPairBits - log_terms - kKept; }
};

struct HalfInputs {
  HalfBlocks d_y, weight;  // of a layer of one output tile
  const HalfDirectory* directory;
  int padded_rows, groups;
  OrderFreeTiles sums;
  struct Columns {
    int first, count;
  } columns[kMaxTiles];  // of each tile
};
// One of them.
struct HalfInput {
  HalfBlocks d_y, weight;
  int padded_rows, groups, first_column, columns;
  const OrderFree& sums;

  __device__ __forceinline__ HalfInput(const HalfInputs& all, int tile)
      : d_y(all.d_y),
        weight(all.weight),
        padded_rows(all.padded_rows),
        groups(all.groups),
        first_column(all.columns[tile].first),
        columns(all.columns[tile].count),
        sums(all.sums.of[tile]) {}
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

// By one warp.
template <class F>
__device__ __forceinline__ void bring_input(const HalfInput& p, const uint32_t* places, int first_row, int begin,
                                            int end, InputShared<F>& shared) {
  using Shared = InputShared<F>;
  constexpr int kGroups = Shared::kColumns / kUnit;
  const int lane = int(threadIdx.x) % 32;
  if (lane == 0) {
    shared.d_y_filled.arrive_expecting(sizeof shared.d_y.bytes);
    constexpr int kLineUnits = kTileColumns / kUnit * F::kParts;
    shared.d_y_filled.copy_async(shared.d_y.bytes, p.d_y.units + int64_t(first_row) * kLineUnits,
                                 sizeof shared.d_y.bytes);
  }
  // What the first lane says of a tile's patches.
  struct Look {
    float unscale[2], norm[2];
  };
  const auto look = [&](int tile) {
    Look look;
    for (int patch = 0; patch < 2; ++patch) {
      const int group = min(p.first_column / kUnit + tile * kGroups + patch * (kGroups / 2), p.groups - 1);
      look.unscale[patch] = p.weight.unscale[group];
      look.norm[patch] = p.weight.norm[group];
    }
    return look;
  };
  Look next = look(begin);
  for (int tile = begin; tile < end; ++tile) {
    const Slot<Shared::kStages> slot(tile - begin);
    auto& stage = shared.stage[slot.stage];
    Gate& filled = shared.ring.filled[slot.stage];
    const int first = tile * Shared::kColumns, last = min(first + Shared::kColumns, p.columns) - 1;
    const int position = first / p.sums.dim, positions = last / p.sums.dim - position + 1;
    shared.ring.free[slot.stage].wait(slot.phase ^ 1);
    if (lane == 0) {
      for (int patch = 0; patch < 2; ++patch) {
        stage.unscale[patch] = next.unscale[patch];
        stage.norm[patch] = next.norm[patch];
      }
      filled.arrive_expecting(unsigned(sizeof stage.weight.bytes + positions * sizeof *stage.places));
      filled.copy_async(stage.weight.bytes,
                        p.weight.units + int64_t(p.first_column / kUnit + tile * kGroups) * F::kParts * kTileColumns,
                        sizeof stage.weight.bytes);
    }
    __syncwarp();
    if (lane < positions)
      filled.copy_async(stage.places[lane], places + int64_t(position + lane) * p.padded_rows + first_row,
                        sizeof *stage.places);
    next = look(tile + 1);
  }
}

// The least power of two above a float, by its bits; as far as its inverse is one too.
__device__ __forceinline__ int log_above(uint32_t bits) { return min(max(int(bits >> 23) - 126, -126), 126); }
__device__ __forceinline__ float power_of_two(int log) { return __uint_as_float(uint32_t(log + 127) << 23); }

// Not of infinities and NaN: their neighbour must not notice.
__device__ __forceinline__ int whole_of(float x) { return x - x == 0 ? __float2int_rn(x) : 0; }

// So many blocks a tile.
template <class F, bool unordered>
__global__ void __launch_bounds__(kProductThreads, 1)
    half_input_kernel(const HalfInputs tiles, unsigned blocks, unsigned ranges) {
  wait_for_stream();
#if defined(RECIS_WGMMA) || defined(RECIS_SIMT)
  using Shared = InputShared<F>;
  constexpr int kUnits = Shared::kColumns / kUnit;
  auto& shared = *dynamic_shared<Shared>();
  const int own_block = int(blockIdx.x % blocks);
  const HalfInput p(tiles, int(blockIdx.x / blocks));
  const HalfDirectory::Run* const run = tiles.directory->find(p.first_column);
  if (!run || run->columns != p.columns || run->dim != p.sums.dim) return;
  if (threadIdx.x == 0) {
    shared.ring.make(1);
    shared.d_y_filled.make(1);
    shared.most_row = shared.most_column = shared.terms = 0;
  }
  __syncthreads();
  if constexpr (!unordered) {
    find_most(p.d_y.norm, p.padded_rows, shared.most_row);
    find_most(p.weight.norm + p.first_column / kUnit, p.columns / kUnit, shared.most_column);
    add_up(run->repeats, run->blocks, shared.terms);
    __syncthreads();
  }
  const int row_tiles = p.padded_rows / kTileRows, first_row = own_block % row_tiles * kTileRows;
  const int64_t range = own_block / row_tiles, steps = (p.columns + Shared::kColumns - 1) / Shared::kColumns;
  const int begin = int(steps * range / ranges), end = int(steps * (range + 1) / ranges);
  const int group = int(threadIdx.x) / kGroupThreads, lane = int(threadIdx.x) % 32;
  if (group == kGroups) {
    if (threadIdx.x % kGroupThreads < 32) bring_input<F>(p, run->places, first_row, begin, end, shared);
    return;
  }
  const int line = int(threadIdx.x) / 32 * 16 + lane / 4, row = first_row + line;
  const OrderFreeRows rows = order_free_rows(p.sums);
  float row_unscale = p.d_y.unscale[row / F::kStep], column_share = 1;
  bool in_pairs = false;
  int class_log = 1, log_most = 0, log_row[2] = {};
  if constexpr (!unordered) {
    // To whole units by powers of two: nothing else is rounded. No product of a row and a column is above that of
    // their norms.
    const int log_terms = 32 - __clz(int(max(shared.terms, 1u) - 1));
    const int log_most_row = log_above(shared.most_row), log_most_column = log_above(shared.most_column);
    class_log = Pairs<F>::class_log(log_terms);
    in_pairs = log_terms <= Pairs<F>::kMostLogTerms && int(rows.classes) * class_log >= Pairs<F>::kReach;
    const int bits = in_pairs ? kPairBits : kSumBits;
    // In this order: the product of the two powers may be infinite.
    row_unscale = row_unscale * power_of_two(-log_most_row) * power_of_two(bits - log_terms);
    column_share = power_of_two(-log_most_column);
    log_most = log_most_row + log_most_column;
    for (int half = 0; half < 2; ++half) log_row[half] = log_above(__float_as_uint(p.d_y.norm[row + 8 * half]));
    if (own_block == 0 && threadIdx.x == 0)
      *p.sums.units = {order_free_unit(log_most, log_terms, bits), 0, in_pairs, class_log};
  }
  const int dim = p.sums.dim, embedding_units = dim / kUnit;
  unsigned long long* const sums = (in_pairs ? own_pairs(p.sums, rows) : own_sums(p.sums, rows)) + lane % 4;
  const uint32_t class_words = rows.count * uint32_t(dim / 2);
  float* const d_embeddings = p.sums.d_embeddings + int64_t(rows.first) * dim + lane % 4 * 2;
  shared.d_y_filled.wait(0);
  for (int tile = begin; tile < end; ++tile) {
    const Slot<Shared::kStages> slot(tile - begin);
    auto& stage = shared.stage[slot.stage];
    const int first_unit = tile * kUnits;
    float part[Shared::kColumns / 2];
    shared.ring.filled[slot.stage].wait(slot.phase);
    multiply_tiles<F, false, true, kTileColumns>(part, shared.d_y, stage.weight, group * 64);
    float by[2][2];     // what makes whole units of a patch's terms in the two rows
    uint32_t to[2][2];  // where the sums of their class begin
#pragma unroll
    for (int patch = 0; patch < 2; ++patch)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int below = log_most - log_row[half] - log_above(__float_as_uint(stage.norm[patch]));
        int which = 0;
        for (int c = 1; c < int(kMostClasses); ++c) which += in_pairs && c < int(rows.classes) && below >= c * class_log;
        by[patch][half] =
            unscale_of(row_unscale * power_of_two(which * class_log), stage.unscale[patch] * column_share);
        to[patch][half] = which * class_words;
      }
    wgmma_wait();
    // Calls add(offset, terms, to) for every two terms, where they are among the gradients of embeddings, and where the
    // sums of their class begin.
    const auto for_each_term = [&](auto add) {
      int position = 0, unit = first_unit % embedding_units;
#pragma unroll
      for (int j = 0; j < kUnits; ++j) {
        if (first_unit + j == p.columns / kUnit) break;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const uint32_t place = stage.places[position][line + 8 * half];
          if (place >= rows.count) continue;  // it is nowhere, or the table is another one
          const int patch = j / (kUnits / 2);
          const float share = by[patch][half];
          add(place * uint32_t(dim) + uint32_t(unit * kUnit),
              float2{part[4 * j + 2 * half] * share, part[4 * j + 2 * half + 1] * share}, to[patch][half]);
        }
        if (++unit == embedding_units) unit = 0, ++position;
      }
    };
    if constexpr (unordered) {
      for_each_term([&](uint32_t offset, float2 terms, uint32_t) {
        add_unordered(d_embeddings + offset, terms);
      });
    } else {
      float all = 0;  // not a number, if a term is none or infinite
      const auto note = [&](float2 terms) { all = fmaf(terms.x, 0, fmaf(terms.y, 0, all)); };
      if (in_pairs)
        for_each_term([&](uint32_t offset, float2 terms, uint32_t to) {
          note(terms);
          add_term(sums + to + offset / 2, pair_of(whole_of(terms.x), whole_of(terms.y)));
        });
      else
        for_each_term([&](uint32_t offset, float2 terms, uint32_t) {
          note(terms);
          add_term(sums + offset, __float2ll_rn(terms.x));
          add_term(sums + offset + 4, __float2ll_rn(terms.y));
        });
      if (all != 0)
        for_each_term([&](uint32_t offset, float2 terms, uint32_t) {
          if (terms.x - terms.x != 0) atomicAdd(d_embeddings + offset, terms.x);
          if (terms.y - terms.y != 0) atomicAdd(d_embeddings + offset + 1, terms.y);
        });
    }
    shared.ring.free[slot.stage].arrive();
  }
#endif
}

}  // namespace recis
