// From d_y to the gradients of a tile's embeddings: d_x = d_y W in parts, summed over the ids that share one as it
// is made. A block keeps 128 rows of d_y and goes through a range of the columns.
#pragma once

#include "linear_tile_input_share.cuh"

#include <type_traits>

namespace recis {

// The largest of some norms, by all threads of a block; there behind the barrier that follows.
__device__ __forceinline__ void find_most(const float* norms, int count, uint32_t& most) {
  uint32_t mine = 0;  // the bits of positive floats are in their order
  for (int i = int(threadIdx.x); i < count; i += kInputThreads) mine = max(mine, __float_as_uint(norms[i]));
  mine = __reduce_max_sync(~0u, mine);
  if (threadIdx.x % 32 == 0) atomicMax(&most, mine);
}
// Likewise the sum of what count(i) gives.
template <class Count>
__device__ __forceinline__ void add_up(int items, uint32_t& sum, Count count) {
  uint32_t mine = 0;
  for (int i = int(threadIdx.x); i < items; i += kInputThreads) mine += count(i);
  mine = __reduce_add_sync(~0u, mine);
  if (threadIdx.x % 32 == 0) atomicAdd(&sum, mine);
}
// How often an embedding is among the places of a block's rows and columns, at most.
__device__ __forceinline__ void add_up_own(const HalfDirectory::Run& run, int padded_rows, int first_row,
                                           int first_column, int last_column, uint32_t& sum) {
  const int across = padded_rows / kTurnRows, first = first_column / run.dim / kTurnPositions;
  const int blocks = last_column / run.dim / kTurnPositions + 1 - first;
  constexpr int kOwn = kTileRows / kTurnRows;
  add_up(blocks * kOwn, sum, [&](int i) {
    return run.repeats[int64_t(first + i / kOwn) * across + first_row / kTurnRows + i % kOwn];
  });
}

// By one warp.
template <class F>
__device__ __forceinline__ void bring_input(const HalfInput& p, const uint32_t* places, int first_row,
                                            const InputShare& share, int stages, InputShared<F>& shared) {
  using Shared = InputShared<F>;
  const int lane = int(threadIdx.x) % 32;
  if (lane == 0) {
    shared.d_y_filled.arrive_expecting(sizeof shared.d_y.bytes);
    constexpr int kLineUnits = kTileColumns / kUnit * F::kParts;
    shared.d_y_filled.copy_async(shared.d_y.bytes, p.d_y.units + int64_t(first_row) * kLineUnits,
                                 sizeof shared.d_y.bytes);
  }
  // What the first lane says of a tile's patches.
  struct Look {
    float unscale[Shared::kPatches], norm[Shared::kPatches];
  };
  const auto look = [&](int tile) {
    Look look;
    for (int patch = 0; patch < Shared::kPatches; ++patch) {
      const int unit = tile * Shared::kUnits + patch * (F::kStep / kUnit);
      const int group = min(p.first_column / kUnit + unit, p.groups - 1);
      look.unscale[patch] = p.weight.unscale[group];
      look.norm[patch] = p.weight.norm[group];
    }
    return look;
  };
  Look next = look(share.begin);
  for (int tile = share.begin; tile < share.end; ++tile) {
    const Slot slot(tile - share.begin, stages);
    auto& stage = shared.stage[slot.stage];
    Gate& filled = shared.ring.filled[slot.stage];
    const int first = tile * kTileColumns, last = min(first + kTileColumns, p.columns) - 1;
    const int position = first / p.sums.dim, positions = last / p.sums.dim - position + 1;
    shared.ring.free[slot.stage].wait(slot.phase ^ 1);
    if (lane == 0) {
      for (int patch = 0; patch < Shared::kPatches; ++patch) {
        stage.unscale[patch] = next.unscale[patch];
        stage.norm[patch] = next.norm[patch];
      }
      filled.arrive_expecting(unsigned(sizeof stage.weight.bytes + positions * sizeof *stage.places));
      const int64_t group = p.first_column / kUnit + tile * Shared::kUnits;
      filled.copy_async(stage.weight.bytes, p.weight.units + group * F::kParts * kTileColumns,
                        sizeof stage.weight.bytes);
    }
    __syncwarp();
    if (lane < positions)
      filled.copy_async(stage.places[lane], places + int64_t(position + lane) * p.padded_rows + first_row,
                        sizeof *stage.places);
    next = look(tile + 1);
  }
}

// The least power of two that a count, at least one, is not above.
__device__ __forceinline__ int log_of(uint32_t count) { return 32 - __clz(int(max(count, 1u) - 1)); }
// The least power of two above a float, by its bits; as far as its inverse is one too.
__device__ __forceinline__ int log_above(uint32_t bits) { return min(max(int(bits >> 23) - 126, -126), 126); }
__device__ __forceinline__ float power_of_two(int log) { return __uint_as_float(uint32_t(log + 127) << 23); }

// Two terms of a row for each of some units.
template <int count>
struct Terms {
  static constexpr int kCount = count;
  float2 of[count];
};

// A block for every range of columns of 128 rows.
template <class F, bool unordered>
__global__ void __launch_bounds__(kInputThreads, 1) half_input_kernel(const HalfInputs tiles, unsigned ranges) {
  wait_for_stream();
#if defined(RECIS_WGMMA) || defined(RECIS_SIMT)
  using Shared = InputShared<F>;
  constexpr int kUnits = kGroupColumns / kUnit, kPatchUnits = F::kStep / kUnit, kPatches = kUnits / kPatchUnits;
  auto& shared = *dynamic_shared<Shared>();
  const int row_tile = int(blockIdx.x) % tiles.row_tiles(), first_row = row_tile * kTileRows;
  const InputShare share =
      input_share<F, unordered>(tiles, int(blockIdx.x) / tiles.row_tiles(), int(ranges));
  const HalfInput p(tiles, share.tile);
  const HalfDirectory::Run* const run = tiles.directory->find(p.first_column);
  if (!run || run->columns != p.columns || run->dim != p.sums.dim) return;
  if (threadIdx.x == 0) {
    shared.ring.make(1, kInputUsers / 32);
    shared.d_y_filled.make(1);
    shared.summed.make(kInputUsers);
    shared.most_row = shared.most_column = shared.terms = shared.own_terms = 0;
  }
  __syncthreads();
  if constexpr (!unordered) {
    find_most(p.d_y.norm, p.padded_rows, shared.most_row);
    find_most(p.weight.norm + p.first_column / kUnit, p.columns / kUnit, shared.most_column);
    add_up(run->blocks, shared.terms, [&](int i) { return run->repeats[i]; });
    if (share.begin < share.end)
      add_up_own(*run, p.padded_rows, first_row, share.begin * kTileColumns,
                 min(share.end * kTileColumns, p.columns) - 1, shared.own_terms);
    __syncthreads();
  }
  const OrderFreeRows rows = order_free_rows(p.sums);
  bool in_pairs = false, keeps = false;
  int bits = 0, log_terms = 0, class_log = 1, own_class = 0, log_most_row = 0, log_most_column = 0;
  if constexpr (!unordered) {
    log_terms = log_of(shared.terms);
    log_most_row = log_above(shared.most_row), log_most_column = log_above(shared.most_column);
    class_log = Pairs<F>::class_log(log_terms);
    in_pairs = log_terms <= Pairs<F>::kMostLogTerms && int(rows.classes) * class_log >= Pairs<F>::kReach;
    bits = in_pairs ? kPairBits : kSumBits;
    if (share.is_first && row_tile == 0 && threadIdx.x == 0)
      *p.sums.units = {order_free_unit(log_most_row + log_most_column, log_terms, bits), 0, in_pairs, class_log};
    keeps = in_pairs && keeps_sums<F, unordered>(tiles, share.tile, int(ranges));
    if (keeps) {
      own_class = min((log_terms - log_of(shared.own_terms)) / class_log, int(rows.classes) - 1);
      shared.block_sums().clear(BlockSums::words(rows.count, p.sums.dim));
      __syncthreads();
    }
  }
  const int stages = keeps ? Shared::kFewStages : Shared::kStages;
  const int group = int(threadIdx.x) / kGroupThreads, lane = int(threadIdx.x) % 32;
  if (group == kInputGroups) {
    bring_input<F>(p, run->places, first_row, share, stages, shared);
    return;
  }
  const int group_row = group % 2 * 64, group_unit = group / 2 * kUnits;  // where its part of a stage begins
  const int line = group_row + int(threadIdx.x) % kGroupThreads / 32 * 16 + lane / 4, row = first_row + line;
  float row_unscale = p.d_y.unscale[row / F::kStep], column_share = 1;
  int log_row[2] = {};
  if constexpr (!unordered) {
    // To whole units by powers of two: nothing else is rounded. No product of a row and a column is above that of
    // their norms. In this order: the product of the two powers may be infinite.
    row_unscale = row_unscale * power_of_two(-log_most_row) * power_of_two(bits - log_terms);
    column_share = power_of_two(-log_most_column);
    for (int half = 0; half < 2; ++half) log_row[half] = log_above(__float_as_uint(p.d_y.norm[row + 8 * half]));
  }
  const int dim = p.sums.dim, embedding_units = dim / kUnit, log_most = log_most_row + log_most_column;
  unsigned long long* const own = in_pairs ? own_pairs(p.sums, rows) : own_sums(p.sums, rows);
  unsigned long long* const sums = own + lane % 4;
  const uint32_t class_words = rows.count * uint32_t(dim / 2);
  const uint32_t own_to = keeps ? own_class * class_words : ~0u;
  float* const floats = p.sums.floats + int64_t(rows.first) * dim + lane % 4 * 2;
  shared.d_y_filled.wait(0);
  for (int tile = share.begin; tile < share.end; ++tile) {
    const Slot slot(tile - share.begin, stages);
    auto& stage = shared.stage[slot.stage];
    const int stage_unit = tile * Shared::kUnits, first_unit = stage_unit + group_unit;
    float part[kGroupColumns / 2];
    shared.ring.filled[slot.stage].wait(slot.phase);
    multiply_tiles<F, false, true, kTileColumns>(part, shared.d_y, stage.weight, group_row, group_unit * kUnit);
    float by[kPatches][2];     // what makes whole units of a patch's terms in the two rows
    uint32_t to[kPatches][2];  // where the sums of their class begin
#pragma unroll
    for (int patch = 0; patch < kPatches; ++patch)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int of_stage = group_unit / kPatchUnits + patch;
        const int below = log_most - log_row[half] - log_above(__float_as_uint(stage.norm[of_stage]));
        int which = own_class;  // the block's own sums have terms of all classes up to theirs
        for (int c = own_class + 1; c < int(kMostClasses); ++c)
          which += in_pairs && c < int(rows.classes) && below >= c * class_log;
        by[patch][half] =
            unscale_of(row_unscale * power_of_two(which * class_log), stage.unscale[of_stage] * column_share);
        to[patch][half] = which * class_words;
      }
    wgmma_wait();
    float rest = 0;  // not a number, if a term is none or infinite
#pragma unroll
    for (int i = 0; i < kGroupColumns / 2; ++i) {
      part[i] *= by[i / 4 / kPatchUnits][i / 2 % 2];
      rest = fmaf(part[i], 0, rest);
    }
    // Calls add(offset, to, terms) for this thread's terms of every embedding: where it is among all, where the sums of
    // their class begin, and two terms for each of its units. An embedding has `constant` units; if that is 0 it has
    // any number, and each comes by itself.
    const auto for_each_row = [&](auto constant, auto add) {
      constexpr int kWhole = decltype(constant)::value, kStep = kWhole > 0 ? kWhole : 1, kSteps = kUnits / kStep;
      int position = first_unit / embedding_units - stage_unit / embedding_units;
      int unit = kWhole > 0 ? 0 : first_unit % embedding_units;
      const int units = p.columns / kUnit - first_unit;
      uint32_t offsets[kSteps][2];
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const uint32_t place = step * kStep < units ? stage.places[position][line + 8 * half] : kNowhere;
          // It may be nowhere, or the table another one.
          offsets[step][half] = place < rows.count ? place * uint32_t(dim) + uint32_t(unit * kUnit) : kNowhere;
        }
        if (kWhole > 0 || ++unit == embedding_units) unit = 0, ++position;
      }
#pragma unroll
      for (int step = 0; step < kSteps; ++step)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          if (offsets[step][half] == kNowhere) continue;
          Terms<kStep> terms;
#pragma unroll
          for (int j = 0; j < kStep; ++j) {
            const int i = 4 * (step * kStep + j) + 2 * half;
            terms.of[j] = {part[i], part[i + 1]};
          }
          add(offsets[step][half], to[step * kStep / kPatchUnits][half], terms);
        }
    };
    using Any = std::integral_constant<int, 0>;
    // The usual sizes have loops of their own.
    const auto for_each_row_fast = [&](auto add) {
      if (embedding_units == 1) for_each_row(std::integral_constant<int, 1>(), add);
      else if (embedding_units == 2) for_each_row(std::integral_constant<int, 2>(), add);
      else if (embedding_units == 4) for_each_row(std::integral_constant<int, 4>(), add);
      else for_each_row(Any(), add);
    };
    const auto add_pairs = [&](uint32_t offset, uint32_t to, const auto& terms) {
      if (to == own_to) {
        const uint32_t place = BlockSums::place(offset, lane % 4);
        for (int j = 0; j < terms.kCount; ++j)
          shared.block_sums().add(place, j, __float2int_rn(terms.of[j].x), __float2int_rn(terms.of[j].y));
        return;
      }
      unsigned long long* const first = sums + (to + offset / 2);
      for (int j = 0; j < terms.kCount; ++j)
        add_term(first + j * (kUnit / 2), pair_of(__float2int_rn(terms.of[j].x), __float2int_rn(terms.of[j].y)));
    };
    const auto add_each = [&](uint32_t offset, uint32_t, const auto& terms) {
      for (int j = 0; j < terms.kCount; ++j) {
        add_term(sums + offset + j * kUnit, __float2ll_rn(terms.of[j].x));
        add_term(sums + offset + j * kUnit + 4, __float2ll_rn(terms.of[j].y));
      }
    };
    if constexpr (unordered) {
      for_each_row_fast([&](uint32_t offset, uint32_t, const auto& terms) {
        for (int j = 0; j < terms.kCount; ++j) add_unordered(floats + offset + j * kUnit, terms.of[j]);
      });
    } else if (rest != 0) {
      // Terms that are no numbers, or infinite, are added as they are, and their neighbours must not notice.
      const auto take = [&](float& term, float* to) {
        if (term - term == 0) return;
        atomicAdd(to, term);
        term = 0;
      };
      for_each_row(Any(), [&](uint32_t offset, uint32_t to, auto terms) {
        take(terms.of[0].x, floats + offset);
        take(terms.of[0].y, floats + offset + 1);
        if (in_pairs) add_pairs(offset, to, terms);
        else add_each(offset, to, terms);
      });
    } else if (in_pairs) {
      for_each_row_fast(add_pairs);
    } else {
      for_each_row_fast(add_each);
    }
    shared.ring.release(slot.stage);
  }
  if (keeps) {
    shared.summed.arrive();
    shared.summed.wait(0);
    shared.block_sums().hand_on(own, class_words, own_class, class_log, int(threadIdx.x), kInputUsers);
  }
#endif
}

}  // namespace recis
