// The products of linear_tile in halves.cuh's parts: where they fit, a layer's memory, and the launches.
#include "linear_tile_forward.cuh"
#include "linear_tile_input.cuh"
#include "linear_tile_prepare.cuh"
#include "linear_tile_weight.cuh"

#include <algorithm>

namespace recis {
namespace {

constexpr int64_t kMultiprocessors = 132;

// Cuts a layer's memory. The weight and the gradient come first: where they are depends on the size alone.
template <class F>
HalfLayer cut_blocks(const recis_linear_size& size, Workspace& memory) {
  HalfLayer layer{};
  layer.rows = int(size.rows);
  layer.padded_rows = int((size.rows + kTileRows - 1) / kTileRows * kTileRows);
  layer.inputs = int(size.inputs);
  layer.outputs = int(size.outputs);
  layer.directory = memory.take<HalfDirectory>(1);
  const int64_t output_tiles = layer.output_tiles();
  layer.weight.units = memory.take<Unit>(output_tiles * layer.weight_units<F>() * kTileColumns);
  layer.weight.unscale = memory.take<float>(output_tiles * layer.groups());
  layer.weight.norm = memory.take<float>(output_tiles * layer.groups());
  layer.d_y.units = memory.take<Unit>(output_tiles * layer.padded_rows * (kTileColumns / kUnit) * F::kParts);
  layer.d_y.unscale = memory.take<float>(layer.padded_rows / F::kStep * output_tiles);
  layer.d_y.norm = memory.take<float>(output_tiles * layer.padded_rows);
  return layer;
}

// Memory of a run's table. Runs of the same embeddings have it in common, each at its own rows, unless they are
// of the same table: then it is one's own. Without ranges nothing is known of who has which rows.
template <class F>
void take_table(HalfRuns& runs, int i, Workspace& memory) {
  HalfRun& run = runs.run[i];
  const int row_units = run.dim / kUnit * F::kParts;
  run.own = true;
  bool shares = false;  // not by the pointer: where memory is only counted, all are null
  for (int j = 0; j < i; ++j) {
    const HalfRun& before = runs.run[j];
    if (!run.range || !before.range || before.x != run.x || before.dim != run.dim || before.unique != run.unique)
      continue;
    shares = true;
    run.units = before.units;
    if (before.range != run.range) continue;
    run.own = false;
    run.copies = before.copies;
    run.table = before.table;
    return;
  }
  if (!shares) run.units = memory.take<Unit>(int64_t(run.unique) * row_units);
  const int64_t most = kMostCopies * int64_t(run.unique) * row_units;
  run.copies = memory.take<Unit>(std::min(kCopiesBytes / int64_t(sizeof(Unit)), most));
  run.table = memory.take<HalfTable>(1);
  run.largest = memory.take<float>(kLargestBlocks);
}

template <class F>
HalfLayer cut_layer(const Runs& runs, const recis_linear_size& size, Workspace& memory) {
  HalfLayer layer = cut_blocks<F>(size, memory);
  auto& [all, count, chunks] = layer.runs;
  count = runs.count;
  for (int i = 0; i < count; ++i) {
    const Run& from = runs.run[i];
    HalfRun& run = all[i];
    run.x = from.x;
    run.range = from.range;
    run.tile = from.tile;
    run.inverse = from.inverse;
    run.offsets = from.offsets;
    run.capacity = from.capacity;
    run.unique = from.tile ? from.unique : uint32_t(size.rows);
    run.dim = from.tile ? from.dim : from.columns;
    run.positions = from.tile ? from.tile_len : 1;
    run.first_column = from.first_column;
    run.columns = from.columns;
  }
  std::sort(all, all + count, [](auto& a, auto& b) { return a.first_column < b.first_column; });
  for (int i = 0; i < count; ++i) {
    HalfRun& run = all[i];
    const int steps = (run.columns + F::kStep - 1) / F::kStep;
    run.first_chunk = chunks;
    chunks += steps;
    run.room = steps * F::kStep;
    if (i + 1 < count) run.room = std::min(run.room, all[i + 1].first_column - run.first_column);
    take_table<F>(layer.runs, i, memory);
    run.places = memory.take<uint32_t>(int64_t(run.positions) * layer.padded_rows);
    run.repeats = memory.take<uint32_t>(places_blocks(layer, run));
  }
  return layer;
}

// What `run` makes of the precision's format.
template <class Run>
auto in_format(recis_precision precision, Run run) {
  return at_precision(precision, [&](auto constant) { return run(Format<constant()>()); });
}

// What `run` makes of the size of clusters for so many blocks that bring the same.
constexpr int kMostCluster = 2;
template <class Run>
int in_cluster([[maybe_unused]] int blocks, Run run) {
#ifndef RECIS_SIMT
  if (blocks % kMostCluster == 0) return run(std::integral_constant<int, kMostCluster>());
#endif
  return run(std::integral_constant<int, 1>());
}

struct Spread {
  unsigned tiles, splits;
};
Spread forward_spread(const HalfLayer& layer) {
  const int64_t tiles = int64_t(layer.row_tiles()) * layer.output_tiles();
  // Shorter splits cost more in partial sums than they gain.
  constexpr int64_t kSplitSteps = 4;
  const int64_t splits = std::min(kMultiprocessors / tiles, layer.runs.chunks / kSplitSteps);
  return {unsigned(tiles), unsigned(std::max<int64_t>(splits, 1))};
}
size_t partial_bytes(Spread spread) {
  return size_t(spread.tiles) * spread.splits * kTileRows * kTileColumns * sizeof(float);
}

}  // namespace

bool halves_fit_size(const recis_linear_size& size) {
#ifndef RECIS_SIMT
  if (!kernels_have_wgmma()) return false;
#endif
  const auto [rows, inputs, outputs, precision] = size;
  constexpr int64_t kMost = 1 << 24;
  return rows > kTileRows / 2 && rows <= kMost && outputs > kTileColumns / 2 && outputs <= kTileColumns &&
         outputs % kUnit == 0 && inputs % kUnit == 0 && inputs <= kMost;
}

bool halves_fit(const Runs& runs, const recis_linear_size& size) {
#ifdef RECIS_SIMT
  constexpr int64_t kEnough = 1;
#else
  // Tiles of the weight's gradient that are worth it.
  constexpr int64_t kEnough = 66;
#endif
  if (!halves_fit_size(size)) return false;
  int64_t tiles = 0;
  for (int i = 0; i < runs.count; ++i) {
    const Run& run = runs.run[i];
    const int64_t dim = run.tile ? run.dim : run.columns, count = run.tile ? run.unique : size.rows;
    // Kernels count a table's units in 32 bits.
    if (dim % kUnit != 0 || run.first_column % kUnit != 0 || count * dim >= int64_t(1) << 31) return false;
    tiles += (run.columns + kTileColumns - 1) / kTileColumns;
  }
  return tiles >= kEnough;
}

size_t half_layer_bytes(const Runs& runs, const recis_linear_size& size) {
  return in_format(size.precision, [&](auto format) {
    Workspace memory;
    cut_layer<decltype(format)>(runs, size, memory);
    return memory.bytes();
  });
}

size_t half_blocks_bytes(const recis_linear_size& size) {
  return in_format(size.precision, [&](auto format) {
    Workspace memory;
    cut_blocks<decltype(format)>(size, memory);
    return memory.bytes();
  });
}

size_t half_forward_bytes(const Runs& runs, const recis_linear_size& size) {
  return in_format(size.precision, [&](auto format) {
    Workspace memory;
    return partial_bytes(forward_spread(cut_layer<decltype(format)>(runs, size, memory)));
  });
}

int prepare_halves(const char* op, const Runs& runs, const float* weight, const recis_linear_size& size,
                   void* memory, recis_stream_t stream) {
  return in_format(size.precision, [&](auto format) {
    using F = decltype(format);
    Workspace workspace(memory);
    const HalfLayer layer = cut_layer<F>(runs, size, workspace);
    int64_t blocks = int64_t(layer.output_tiles()) * layer.runs.chunks;
    for (int i = 0; i < layer.runs.count; ++i) blocks += places_blocks(layer, layer.runs.run[i]);
    return launch(op, prepare_kernel<F>, unsigned(blocks), kThreads, 0, stream, layer, weight);
  });
}

int prepare_half_inputs(const char* op, const Runs& runs, const recis_linear_size& size, void* memory,
                        recis_stream_t stream) {
  return in_format(size.precision, [&](auto format) {
    using F = decltype(format);
    Workspace workspace(memory);
    const HalfLayer layer = cut_layer<F>(runs, size, workspace);
    const unsigned tables = unsigned(layer.runs.count);
    if (int status = launch(op, largest_kernel, dim3(kLargestBlocks, tables), kThreads, 0, stream, layer.runs))
      return status;
    int64_t largest = 1;
    for (int i = 0; i < layer.runs.count; ++i)
      largest = std::max(largest, int64_t(layer.runs.run[i].unique) * layer.runs.run[i].dim / kUnit);
    return launch(op, split_tables_kernel<F>, dim3(blocks_for(largest, kMultiprocessors), tables), kThreads, 0, stream,
                  layer.runs);
  });
}

int prepare_half_gradient(const char* op, const float* d_y, const recis_linear_size& size, void* memory,
                          recis_stream_t stream) {
  return in_format(size.precision, [&](auto format) {
    using F = decltype(format);
    Workspace workspace(memory);
    const HalfLayer layer = cut_blocks<F>(size, workspace);
    const unsigned blocks = unsigned(layer.padded_rows / F::kStep * layer.output_tiles());
    return launch(op, split_gradient_kernel<F>, blocks, kThreads, 0, stream, layer, d_y);
  });
}

int half_forward(const char* op, const Runs& runs, const float* bias, float* y, const recis_linear_size& size,
                 void* memory, void* workspace, recis_stream_t stream) {
  return in_format(size.precision, [&](auto format) {
    using F = decltype(format);
    Workspace cut(memory);
    const HalfLayer layer = cut_layer<F>(runs, size, cut);
    const Spread spread = forward_spread(layer);
    const auto [tiles, splits] = spread;
    auto* const partial = static_cast<Pack<float>*>(workspace);
    const int status = in_cluster(layer.row_tiles(), [&](auto constant) {
      constexpr int kCluster = decltype(constant)::value;
      using Shared = ForwardShared<F, kCluster>;
      static_assert(sizeof(Shared) <= kMostShared);
      return launch_clusters(kCluster, op, half_forward_kernel<F, kCluster>, spread.tiles * spread.splits,
                             kProductThreads, sizeof(Shared), stream, layer, partial, spread.tiles, spread.splits);
    });
    if (status != RECIS_OK) return status;
    return launch(op, half_reduce_kernel, tiles * kSumPacks, kGroups * kGroupThreads, 0, stream, partial, tiles,
                  splits, layer.row_tiles(), layer.rows, layer.outputs, bias, y);
  });
}

int half_weight_gradient(const char* op, const Runs& runs, float* d_weight, const recis_linear_size& size,
                         bool accumulate, void* memory, recis_stream_t stream) {
  return in_format(size.precision, [&](auto format) {
    using F = decltype(format);
    Workspace cut(memory);
    const HalfLayer layer = cut_layer<F>(runs, size, cut);
    int64_t tiles = 0;
    for (int i = 0; i < layer.runs.count; ++i) tiles += column_tiles(layer.runs.run[i]) * layer.output_tiles();
    return in_cluster(layer.output_tiles() == 1 ? kMostCluster : 1, [&](auto constant) {
      constexpr int kCluster = decltype(constant)::value;
      using Shared = WeightShared<F, kCluster>;
      static_assert(sizeof(Shared) <= kMostShared);
      // No more than take as long: the others are free for what runs beside.
      const int64_t each = (tiles + kMultiprocessors - 1) / kMultiprocessors, wanted = (tiles + each - 1) / each;
      const int64_t blocks = (wanted + kCluster - 1) / kCluster * kCluster;
      return launch_clusters(kCluster, op, half_weight_kernel<F, kCluster>, unsigned(blocks), kProductThreads,
                             sizeof(Shared), stream, layer, unsigned(tiles), d_weight, accumulate);
    });
  });
}

int half_input_gradient(const char* op, const Runs& runs, const OrderFreeTiles& sums, const recis_linear_size& size,
                        void* memory, recis_stream_t stream) {
  return in_format(size.precision, [&](auto format) {
    using F = decltype(format);
    using Shared = InputShared<F>;
    static_assert(sizeof(Shared) <= kMostShared);
    Workspace cut(memory);
    const HalfLayer layer = cut_blocks<F>(size, cut);
    HalfInputs inputs{};
    inputs.d_y = layer.d_y;
    inputs.weight = layer.weight;
    inputs.directory = layer.directory;
    inputs.padded_rows = layer.padded_rows;
    inputs.groups = layer.groups();
    inputs.sums = sums;
    int64_t steps = 0;
    for (int i = 0; i < runs.count; ++i) {
      inputs.columns[i] = {runs.run[i].first_column, runs.run[i].columns};
      steps += (runs.run[i].columns + kTileColumns - 1) / kTileColumns;
    }
    // All blocks are there at once, if that leaves each tile a range at all.
    const int64_t room = kMultiprocessors / layer.row_tiles();
    const int64_t ranges = std::max<int64_t>(runs.count, std::min(steps, room));
    const auto kernel = sums.of[0].sums ? half_input_kernel<F, false> : half_input_kernel<F, true>;
    return launch(op, kernel, unsigned(layer.row_tiles() * ranges), kInputThreads, sizeof(Shared), stream, inputs,
                  unsigned(ranges));
  });
}

}  // namespace recis
