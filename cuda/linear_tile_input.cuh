// The gradient of a tile's columns, d_x = d_y W, in parts: a block keeps 128 rows of d_y and goes through a
// range of the columns. Of factors in one part it is in half floats, as exact as they are: half the bytes to write
// and to sum up.
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
  uint32_t most_row, most_column;  // bits of the largest of the patches' unscales
};

// Products of scaled factors are below 2^37; so much smaller they fit a half float, and typical ones of the
// largest patches have twenty bits below them.
constexpr float kHalfShift = 1.0f / (1 << 22);

struct HalfInput {
  HalfBlocks d_y, weight;  // of a layer of one output tile
  int rows, padded_rows, groups;
  int first_group, columns;     // of the tile
  const int32_t* offsets;       // how long rows are
  int64_t capacity;
  int dim;
  void* d_x;                    // [rows, columns], of floats or half floats
  float* d_x_unscale;           // [row tiles] what half floats are to be multiplied by
};

// Four half floats a thread, of two blocks of eight columns that the threads of a row hold two each of.
__device__ __forceinline__ uint2 four_halves(float2 first, float2 second, bool takes_second) {
  const uint32_t a = to_half(first.x, first.y), b = to_half(second.x, second.y);
  const uint32_t got = __shfl_xor_sync(~0u, takes_second ? a : b, 1);
  return takes_second ? uint2{got, b} : uint2{a, got};
}

// The largest of some, by all threads of a block; there behind the barrier that follows.
__device__ __forceinline__ void find_most_unscale(const float* unscales, int count, uint32_t& most) {
  uint32_t mine = 0;  // the bits of positive floats are in their order
  for (int i = int(threadIdx.x); i < count; i += kProductThreads) mine = max(mine, __float_as_uint(unscales[i]));
  mine = __reduce_max_sync(~0u, mine);
  if (threadIdx.x % 32 == 0) atomicMax(&most, mine);
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
    const int group = p.first_group + tile * kGroups;
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
    filled.copy_async(weight, p.weight.units + int64_t(p.first_group + tile * kGroups) * F::kParts * kTileColumns,
                      sizeof weight);
    next = unscale(tile + 1);
  }
}

template <class F>
__global__ void __launch_bounds__(kProductThreads, 1) half_input_kernel(const HalfInput p, unsigned ranges) {
  wait_for_stream();
#if defined(RECIS_WGMMA) || defined(RECIS_SIMT)
  using Shared = InputShared<F>;
  auto& shared = *dynamic_shared<Shared>();
  if (threadIdx.x == 0) {
    shared.ring.make(1);
    shared.d_y_filled.make(1);
    shared.most_row = shared.most_column = 0;
  }
  __syncthreads();
  const int row_tiles = p.padded_rows / kTileRows, first_row = int(blockIdx.x) % row_tiles * kTileRows;
  if constexpr (F::kParts == 1) {
    find_most_unscale(p.d_y.unscale + first_row / F::kStep, kTileRows / F::kStep, shared.most_row);
    find_most_unscale(p.weight.unscale + p.first_group, p.columns / kUnit, shared.most_column);
    __syncthreads();
  }
  const int64_t range = blockIdx.x / row_tiles, tiles = (p.columns + Shared::kColumns - 1) / Shared::kColumns;
  const int begin = int(tiles * range / ranges), end = int(tiles * (range + 1) / ranges);
  const int group = int(threadIdx.x) / kGroupThreads, lane = int(threadIdx.x) % 32;
  if (group == kGroups) {
    if (threadIdx.x % kGroupThreads == 0) bring_input<F>(p, first_row, begin, end, shared);
    return;
  }
  const int row = first_row + int(threadIdx.x) / 32 * 16 + lane / 4;
  float row_unscale = p.d_y.unscale[row / F::kStep], column_share = 1;
  if constexpr (F::kParts == 1) {
    // Of powers of two, so that nothing is rounded but the half floats.
    const float most_row = __uint_as_float(shared.most_row), most_column = __uint_as_float(shared.most_column);
    row_unscale = row_unscale / most_row * kHalfShift;
    column_share = 1 / most_column;
    if (int(blockIdx.x) < row_tiles && threadIdx.x == 0)
      p.d_x_unscale[first_row / kTileRows] = unscale_of(unscale_of(most_row, most_column), 1 / kHalfShift);
  }
  int width[2];  // of the two rows, without padding
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = row + 8 * half;
    const Segment segment = r < p.rows ? segment_of(p.offsets, r, p.capacity) : Segment{0, 0};
    width[half] = int(min((segment.end - segment.begin) * p.dim, int64_t(p.columns)));
  }
  shared.d_y_filled.wait(0);
  for (int tile = begin; tile < end; ++tile) {
    const Slot<Shared::kStages> slot(tile - begin);
    float part[Shared::kColumns / 2];
    shared.ring.filled[slot.stage].wait(slot.phase);
    multiply_tiles<F, false, true, kTileColumns>(part, shared.d_y, shared.weight[slot.stage], group * 64);
    const float unscale[2] = {unscale_of(row_unscale, shared.unscale[slot.stage][0] * column_share),
                              unscale_of(row_unscale, shared.unscale[slot.stage][1] * column_share)};
    wgmma_wait();
    __syncwarp();
    if (lane == 0) shared.ring.free[slot.stage].arrive();
    const auto sums = [&](int j, int half) {
      const float by = unscale[j / (Shared::kColumns / 16)];
      return float2{part[4 * j + 2 * half] * by, part[4 * j + 2 * half + 1] * by};
    };
    const int first_column = tile * Shared::kColumns;
    if constexpr (F::kParts == 1) {
      const bool odd = lane % 2 == 1;
      const int column = first_column + (odd ? kUnit : 0) + lane % 4 / 2 * 4;
#pragma unroll
      for (int j = 0; j < Shared::kColumns / 8; j += 2)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const uint2 halves = four_halves(sums(j, half), sums(j + 1, half), odd);
          const int at = column + 8 * j;
          if (at < width[half])
            reinterpret_cast<uint2*>(p.d_x)[(int64_t(row + 8 * half) * p.columns + at) / 4] = halves;
        }
    } else {
#pragma unroll
      for (int j = 0; j < Shared::kColumns / 8; ++j) {
        const int column = first_column + 8 * j + lane % 4 * 2;
#pragma unroll
        for (int half = 0; half < 2; ++half)
          if (column < width[half])
            reinterpret_cast<float2*>(p.d_x)[(int64_t(row + 8 * half) * p.columns + column) / 2] = sums(j, half);
      }
    }
  }
#endif
}

}  // namespace recis
