// y = X W^T + b in parts: a block has 128 rows, 128 outputs and a share of the steps along the columns.
#pragma once

#include "linear_tile_halves.cuh"

namespace recis {

constexpr int kStepUnits = 8;  // of a line in a stage, whatever the format

template <class F, int cluster>
struct ForwardShared {
  static constexpr int kStages = 6;
  struct Stage {
    GatheredTile<kTileRows, kStepUnits> x;
    UnitTile<kTileColumns, kStepUnits> weight;
    float unscale;
  } stage[kStages];
  Ring<kStages, cluster> ring;
};

// Sums of a block, as wgmma has them.
constexpr int kSumPacks = 16;

struct ForwardShare {
  int first_row, output_tile, begin, end;
};
__device__ __forceinline__ ForwardShare forward_share(const HalfLayer& layer, unsigned tiles, unsigned splits) {
  const int tile = int(blockIdx.x % tiles);
  const int64_t split = blockIdx.x / tiles, chunks = layer.runs.chunks;
  return {tile % layer.row_tiles() * kTileRows, tile / layer.row_tiles(), int(chunks * split / splits),
          int(chunks * (split + 1) / splits)};
}

template <class F, int cluster>
__device__ __forceinline__ void bring_forward(const HalfLayer& layer, const ForwardShare& share,
                                              ForwardShared<F, cluster>& shared) {
  constexpr int kStages = ForwardShared<F, cluster>::kStages, kLines = kTileRows * kStepUnits / 32;
  const int warp = int(threadIdx.x) % kGroupThreads / 32, lane = int(threadIdx.x) % 32;
  // A lane brings one unit of each of 32 lines.
  const int unit = lane % kStepUnits, line = lane / kStepUnits * kLines;
  struct Look {
    Pack<uint32_t> places[kLines / 4];
    const Unit *units, *weight;
    int row_units;
    bool inside;
    float unscale;
  };
  Copies copies;
  int r = 0;
  const auto look = [&](Look& to, int chunk) {
    r = run_of_chunk(layer.runs, chunk, r);
    const HalfRun& run = layer.runs.run[r];
    const HalfTable table = *run.table;
    const int first = (chunk - run.first_chunk) * F::kStep, column = first + unit / F::kParts * kUnit;
    to.inside = column < run.columns;
    const int position = to.inside ? column / run.dim : 0;
    to.row_units = run.dim / kUnit * F::kParts;
    to.units = rows_of(run, table) + (to.inside ? column - position * run.dim : 0) / kUnit * F::kParts +
               unit % F::kParts;
    const int group = (run.first_column + first) / kUnit;
    to.weight = layer.weight.units +
                (share.output_tile * layer.weight_units<F>() + group * F::kParts) * kTileColumns;
    to.unscale =
        unscale_of(table.unscale, layer.weight.unscale[int64_t(share.output_tile) * layer.groups() + group]);
    const Pack<uint32_t>* const places = reinterpret_cast<const Pack<uint32_t>*>(
        run.places + int64_t(position) * layer.padded_rows + share.first_row + line);
#pragma unroll
    for (int i = 0; i < kLines / 4; ++i) to.places[i] = places[i];
  };
  const auto bring = [&](const Look& known, int chunk) {
    const Slot slot(chunk - share.begin, kStages);
    auto& stage = shared.stage[slot.stage];
    Gate& filled = shared.ring.filled[slot.stage];
    shared.ring.free[slot.stage].wait(slot.phase ^ 1);
    if (lane == 0) {
      stage.unscale = known.unscale;
      filled.arrive_expecting(sizeof stage.weight.bytes);
      // A cluster's blocks bring the weight's part together.
      constexpr unsigned kBytes = sizeof stage.weight.bytes / cluster;
      const unsigned first = Cluster<cluster>::rank() * kBytes;
      filled.template copy_to_all_async<cluster>(stage.weight.bytes + first,
                                                 known.weight + first / sizeof(Unit), kBytes);
    }
    unsigned char* const to = stage.x.at(line, unit);
#pragma unroll
    for (int i = 0; i < kLines; ++i) {
      const uint32_t place = known.places[i / 4].value[i % 4];
      const bool there = place != kNowhere && known.inside;
      copy_pack_async(to + i * 16, known.units + (there ? place * uint32_t(known.row_units) : 0), there);
    }
    copies.begun(filled);
  };
  bring_by_turns<Look>(share.begin + warp, share.end, look, bring);
  copies.end();
}

// In clusters of blocks that have the same steps.
template <class F, int cluster>
__global__ void __launch_bounds__(kProductThreads, 1)
    half_forward_kernel(const HalfLayer layer, Pack<float>* partial, unsigned tiles, unsigned splits) {
  wait_for_stream();
#if defined(RECIS_WGMMA) || defined(RECIS_SIMT)
  constexpr int kStages = ForwardShared<F, cluster>::kStages;
  auto& shared = *dynamic_shared<ForwardShared<F, cluster>>();
  if (threadIdx.x == 0) shared.ring.make(32 + 1);
  Cluster<cluster>::sync();
  const ForwardShare share = forward_share(layer, tiles, splits);
  const int group = int(threadIdx.x) / kGroupThreads;
  if (group == kGroups) {
    bring_forward(layer, share, shared);
  } else {
    float sums[4 * kSumPacks] = {}, part[4 * kSumPacks];
    for (int chunk = share.begin; chunk < share.end; ++chunk) {
      const Slot slot(chunk - share.begin, kStages);
      auto& stage = shared.stage[slot.stage];
      shared.ring.filled[slot.stage].wait(slot.phase);
      multiply_tiles<F, false, false, F::kStep>(part, stage.x, stage.weight, group * 64);
      const float unscale = stage.unscale;
      wgmma_wait();
      shared.ring.release(slot.stage);
#pragma unroll
      for (int i = 0; i < 4 * kSumPacks; ++i) sums[i] += part[i] * unscale;
    }
    Pack<float>* const mine = partial + int64_t(blockIdx.x) * kSumPacks * kGroups * kGroupThreads + threadIdx.x;
#pragma unroll
    for (int j = 0; j < kSumPacks; ++j)
      mine[j * kGroups * kGroupThreads] = {sums[4 * j], sums[4 * j + 1], sums[4 * j + 2], sums[4 * j + 3]};
  }
  // Others may still write here.
  if constexpr (cluster > 1) Cluster<cluster>::sync();
#endif
}

// Adds up the splits in their order: a block for every tile and pack.
__global__ void __launch_bounds__(kGroups* kGroupThreads)
    half_reduce_kernel(const Pack<float>* partial, unsigned tiles, unsigned splits, int row_tiles, int rows,
                       int outputs, const float* bias, float* y) {
  wait_for_stream();
  constexpr int kThreadsHere = kGroups * kGroupThreads;
  const int tile = int(blockIdx.x) / kSumPacks, j = int(blockIdx.x) % kSumPacks;
  const int64_t next = int64_t(tiles) * kSumPacks * kThreadsHere;
  const Pack<float>* from = partial + int64_t(blockIdx.x) * kThreadsHere + threadIdx.x;
  Pack<float> sum = *from;
#pragma unroll 8
  for (unsigned split = 1; split < splits; ++split) {
    const Pack<float> values = from[split * next];
#pragma unroll
    for (int i = 0; i < 4; ++i) sum.value[i] += values.value[i];
  }
  const int row = tile % row_tiles * kTileRows + int(threadIdx.x) / 32 * 16 + int(threadIdx.x) % 32 / 4;
  const int column = tile / row_tiles * kTileColumns + j * 8 + int(threadIdx.x) % 4 * 2;
  if (column >= outputs) return;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int r = row + 8 * i;
    if (r < rows)
      *reinterpret_cast<float2*>(y + int64_t(r) * outputs + column) =
          float2{sum.value[2 * i] + bias[column], sum.value[2 * i + 1] + bias[column + 1]};
  }
}

}  // namespace recis
