// d_weight = d_y^T X in parts: a block has tiles of 128 outputs by 128 columns, one behind the other, over all
// rows.
#pragma once

#include "linear_tile_halves.cuh"

namespace recis {

template <class F, int cluster>
struct WeightShared {
  static constexpr int kStages = 6, kUnits = kTileColumns / kUnit * F::kParts;  // of a line
  struct Stage {
    LineTile8<F::kStep, kUnits> d_y;
    GatheredTile<F::kStep, kUnits> x;
    float unscale;
  } stage[kStages];
  Ring<kStages, cluster> ring;
};

__host__ __device__ inline int column_tiles(const HalfRun& run) {
  return (run.columns + kTileColumns - 1) / kTileColumns;
}

struct WeightTile {
  int output_tile, run, column;
};
__device__ __forceinline__ WeightTile weight_tile(const HalfLayer& layer, unsigned tile) {
  const int output_tiles = layer.output_tiles();
  int column_tile = int(tile) / output_tiles, run = 0;
  for (int count; column_tile >= (count = column_tiles(layer.runs.run[run])); ++run) column_tile -= count;
  return {int(tile) % output_tiles, run, column_tile * kTileColumns};
}

// Brings a tile's steps; `before` is how many the block's tiles before had.
template <class F, int cluster>
__device__ __forceinline__ void bring_weight(const HalfLayer& layer, const WeightTile& tile, int steps, int before,
                                             WeightShared<F, cluster>& shared, Copies& copies) {
  using Shared = WeightShared<F, cluster>;
  constexpr int kStages = Shared::kStages, kUnits = Shared::kUnits;
  constexpr int kAcross = kUnits / 8, kLines = F::kStep / 4;
  const int warp = int(threadIdx.x) % kGroupThreads / 32, lane = int(threadIdx.x) % 32;
  const HalfRun& run = layer.runs.run[tile.run];
  const HalfTable table = *run.table;
  // A lane brings every eighth unit of a quarter of the lines.
  const int line = lane / 8 * kLines;
  const Unit* units[kAcross];
  const uint32_t* places[kAcross];
  bool inside[kAcross];
  const uint32_t row_units = run.dim / kUnit * F::kParts;
#pragma unroll
  for (int j = 0; j < kAcross; ++j) {
    const int unit = lane % 8 + 8 * j, column = tile.column + unit / F::kParts * kUnit;
    inside[j] = column < run.columns;
    const int position = inside[j] ? column / run.dim : 0;
    units[j] = rows_of(run, table) + (inside[j] ? column - position * run.dim : 0) / kUnit * F::kParts +
               unit % F::kParts;
    places[j] = run.places + int64_t(position) * layer.padded_rows + line;
  }
  struct Look {
    Pack<uint32_t> places[kAcross][kLines / 4];
    float unscale;
  };
  const auto look = [&](Look& to, int step) {
    to.unscale = unscale_of(table.unscale, layer.d_y.unscale[step * layer.output_tiles() + tile.output_tile]);
#pragma unroll
    for (int j = 0; j < kAcross; ++j)
#pragma unroll
      for (int m = 0; m < kLines / 4; ++m)
        to.places[j][m] = reinterpret_cast<const Pack<uint32_t>*>(places[j] + step * F::kStep)[m];
  };
  const auto bring = [&](const Look& known, int step) {
    const Slot slot(before + step, kStages);
    auto& stage = shared.stage[slot.stage];
    Gate& filled = shared.ring.filled[slot.stage];
    shared.ring.free[slot.stage].wait(slot.phase ^ 1);
    if (lane == 0) {
      stage.unscale = known.unscale;
      filled.arrive_expecting(sizeof stage.d_y.bytes);
      const int64_t row = int64_t(tile.output_tile) * layer.padded_rows + step * F::kStep;
      // A cluster's blocks bring the gradient's part together.
      constexpr unsigned kBytes = sizeof stage.d_y.bytes / cluster;
      const unsigned first = Cluster<cluster>::rank() * kBytes;
      filled.template copy_to_all_async<cluster>(stage.d_y.bytes + first,
                                                 layer.d_y.units + row * kUnits + first / sizeof(Unit), kBytes);
    }
#pragma unroll
    for (int j = 0; j < kAcross; ++j) {
      unsigned char* const to = stage.x.at(line, lane % 8 + 8 * j);
#pragma unroll
      for (int m = 0; m < kLines; ++m) {
        const uint32_t place = known.places[j][m / 4].value[m % 4];
        const bool there = place != kNowhere && inside[j];
        copy_pack_async(to + m * 16, units[j] + (there ? place * row_units : 0), there);
      }
    }
    copies.begun(filled);
  };
  // The bringers take turns over all of the block's steps.
  bring_by_turns<Look>((warp + kBringers - before % kBringers) % kBringers, steps, look, bring);
}

// In clusters of blocks whose tiles are of the same outputs, as many each. If some have none left, they do the last one
// once more.
template <class F, int cluster>
__global__ void __launch_bounds__(kProductThreads, 1)
    half_weight_kernel(const HalfLayer layer, unsigned tiles, float* d_weight, bool accumulate) {
  wait_for_stream();
#if defined(RECIS_WGMMA) || defined(RECIS_SIMT)
  constexpr int kStages = WeightShared<F, cluster>::kStages;
  auto& shared = *dynamic_shared<WeightShared<F, cluster>>();
  if (threadIdx.x == 0) shared.ring.make(32 + 1);
  Cluster<cluster>::sync();
  const unsigned end = (tiles + cluster - 1) / cluster * cluster;
  const int steps = layer.padded_rows / F::kStep, group = int(threadIdx.x) / kGroupThreads;
  int before = 0;
  if (group == kGroups) {
    Copies copies;
    for (unsigned i = blockIdx.x; i < end; i += gridDim.x, before += steps)
      bring_weight(layer, weight_tile(layer, min(i, tiles - 1)), steps, before, shared, copies);
    copies.end();
    if constexpr (cluster > 1) Cluster<cluster>::sync();
    return;
  }
  for (unsigned i = blockIdx.x; i < end; i += gridDim.x, before += steps) {
    float sums[64] = {}, part[64];
    for (int step = 0; step < steps; ++step) {
      const Slot slot(before + step, kStages);
      auto& stage = shared.stage[slot.stage];
      shared.ring.filled[slot.stage].wait(slot.phase);
      multiply_tiles<F, true, true, F::kStep>(part, stage.d_y, stage.x, group * 64);
      const float unscale = stage.unscale;
      wgmma_wait();
      shared.ring.release(slot.stage);
#pragma unroll
      for (int k = 0; k < 64; ++k) sums[k] += part[k] * unscale;
    }
    if (i >= tiles) break;
    const WeightTile tile = weight_tile(layer, i);
    const HalfRun& run = layer.runs.run[tile.run];
    const int output = tile.output_tile * kTileRows + int(threadIdx.x) / 32 * 16 + int(threadIdx.x) % 32 / 4;
    const int column = tile.column + int(threadIdx.x) % 4 * 2;
#pragma unroll
    for (int j = 0; j < 16; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int n = output + 8 * half, c = column + 8 * j;
        if (n >= layer.outputs || c >= run.columns) continue;
        float2* const to = reinterpret_cast<float2*>(d_weight + int64_t(n) * layer.inputs + run.first_column + c);
        float2 value{sums[4 * j + 2 * half], sums[4 * j + 2 * half + 1]};
        if (accumulate) {
          const float2 old = *to;
          value = {old.x + value.x, old.y + value.y};
        }
        *to = value;
      }
  }
  // Others may still write here.
  if constexpr (cluster > 1) Cluster<cluster>::sync();
#endif
}

}  // namespace recis
