// A layer's factors in parts: the weight and the gradient in blocks, embeddings as rows of units, and the
// places of the ids position by position.
#pragma once

#include "linear_tile_halves.cuh"

namespace recis {

constexpr int kLargestBlocks = 32;
// A patch is split by a block of kThreads: so many units' worth of numbers each.
template <class F>
constexpr int kPatchItems = kTileRows * F::kStep / kUnit / kThreads;

// A patch in the registers of its block.
template <class F>
struct Patch {
  Pack<float> x[kPatchItems<F>][2];
  float scale;
  bool is_finite;  // all that this thread has
};

// `at(item)` is where eight numbers are, or null: zeros.
template <class F, class At>
__device__ __forceinline__ Patch<F> load_patch(At at) {
  Patch<F> patch;
  uint32_t bits = 0;  // the largest without its sign, infinities and NaN too
#pragma unroll
  for (int k = 0; k < kPatchItems<F>; ++k) {
    const Pack<float>* from = reinterpret_cast<const Pack<float>*>(at(int(threadIdx.x) + k * kThreads));
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      patch.x[k][half] = from ? from[half] : Pack<float>{};
      for (const float value : patch.x[k][half].value) bits = max(bits, __float_as_uint(value) & 0x7fffffffu);
    }
  }
  float largest = __uint_as_float(bits);
  patch.is_finite = bits < kInfinityBits;
  if (!patch.is_finite) {
    largest = 0;
#pragma unroll
    for (const auto& item : patch.x)
      for (const auto& half : item)
        for (const float value : half.value) largest = max(largest, size_of(value));
  }
  patch.scale = scale_for(largest_of_block(largest));
  return patch;
}

// What norms are too small by at most, so that they stay bounds.
constexpr float kNormSlack = 1.0f + 1.0f / 64;

// The square of one of eight numbers in its patch's scale; of infinities and NaN 0.
template <bool is_finite>
__device__ __forceinline__ float square(const Pack<float> (&x)[2], int i, float scale) {
  const float number = x[i / 4].value[i % 4], value = (is_finite ? number : size_of(number)) * scale;
  return value * value;
}

// The sums of squares of this thread's part of a patch's columns.
template <bool is_finite, class F>
__device__ __forceinline__ void squares_of(const Patch<F>& patch, float (&sums)[kUnit]) {
#pragma unroll
  for (int i = 0; i < kUnit; ++i) {
    sums[i] = 0;
#pragma unroll
    for (int k = 0; k < kPatchItems<F>; ++k) sums[i] += square<is_finite>(patch.x[k], i, patch.scale);
  }
}

// The largest of a patch's columns as vectors, in its scale, if a step of them is a line.
template <class F>
__device__ __forceinline__ float largest_column(const Patch<F>& patch) {
  constexpr int kGroups = F::kStep / kUnit, kWarps = kThreads / 32;
  __shared__ float sums[kWarps][F::kStep];
  float mine[kUnit];
  if (patch.is_finite) squares_of<true>(patch, mine);
  else squares_of<false>(patch, mine);
#pragma unroll
  for (int i = 0; i < kUnit; ++i) {
    float sum = mine[i];
    for (int distance = 16; distance >= kGroups; distance /= 2) sum += __shfl_xor_sync(~0u, sum, distance);
    if (threadIdx.x % 32 < kGroups) sums[threadIdx.x / 32][threadIdx.x % 32 * kUnit + i] = sum;
  }
  __syncthreads();
  float sum = 0;
  for (int warp = 0; warp < kWarps && threadIdx.x < F::kStep; ++warp) sum += sums[warp][threadIdx.x];
  return sqrtf(largest_of_block(sum)) * kNormSlack;
}

// 128 outputs by a step of a run's columns.
template <class F>
__device__ __forceinline__ void split_weight(const HalfLayer& layer, const float* weight, int chunk,
                                             int output_tile) {
  constexpr int kGroups = F::kStep / kUnit;
  const HalfRun& run = layer.runs.run[run_of_chunk(layer.runs, chunk)];
  const int column = (chunk - run.first_chunk) * F::kStep, first_output = output_tile * kTileColumns;
  const int first_group = (run.first_column + column) / kUnit;
  const Patch<F> patch = load_patch<F>([&](int item) {
    const int output = first_output + item / kGroups, c = column + item % kGroups * kUnit;
    return output < layer.outputs && c < run.columns
               ? weight + int64_t(output) * layer.inputs + run.first_column + c
               : nullptr;
  });
  Unit* const units =
      layer.weight.units + (output_tile * layer.weight_units<F>() + first_group * F::kParts) * kTileColumns;
#pragma unroll
  for (int k = 0; k < kPatchItems<F>; ++k) {
    const int item = int(threadIdx.x) + k * kThreads, line = item / kGroups, group = item % kGroups;
    if (column + group * kUnit >= run.room) continue;
    Unit parts[F::kParts];
    split<F>(patch.x[k], patch.scale, parts);
#pragma unroll
    for (int part = 0; part < F::kParts; ++part)
      units[(group * F::kParts + part) * kTileColumns + line] = parts[part];
    if (line == 0 && first_group + group < layer.groups())
      layer.weight.unscale[int64_t(output_tile) * layer.groups() + first_group + group] = 1 / patch.scale;
  }
  const float norm = unscale_of(largest_column(patch), 1 / patch.scale);
  if (threadIdx.x < kGroups && first_group + int(threadIdx.x) < layer.groups() &&
      column + int(threadIdx.x) * kUnit < run.room)
    layer.weight.norm[int64_t(output_tile) * layer.groups() + first_group + threadIdx.x] = norm;
}

// Where a table's rows are that are a tile's own.
struct TableRows {
  uint32_t first, count;
};
__device__ __forceinline__ TableRows table_rows(const HalfRun& run) {
  if (!run.range) return {0, run.unique};
  const uint32_t last = min(run.range[1], run.unique), first = min(run.range[0], last);
  return {first, last - first};
}

// One of kLargestBlocks blocks' share of a table.
__device__ __forceinline__ void find_largest(const HalfRun& run, int block) {
  if (!run.own) return;
  const TableRows rows = table_rows(run);
  const Pack<float>* const packs = reinterpret_cast<const Pack<float>*>(run.x + int64_t(rows.first) * run.dim);
  const int64_t count = int64_t(rows.count) * run.dim / 4;
  float mine = 0;
#pragma unroll 4
  for (int64_t i = int64_t(block) * kThreads + threadIdx.x; i < count; i += kLargestBlocks * kThreads)
    for (const float value : packs[i].value) mine = max(mine, size_of(value));
  const float largest = largest_of_block(mine);
  if (threadIdx.x == 0) run.largest[block] = largest;
}

// Counters of how often embeddings are among them, shared by those that are equal modulo so many.
constexpr int kTimes = 2048;

__device__ __forceinline__ void turn_places(const HalfLayer& layer, const HalfRun& run, int block) {
  constexpr int kWarps = kThreads / 32, kRows = kTurnRows / kWarps, kLanes = kTurnPositions / 32;
  __shared__ uint32_t turned[kTurnPositions][kTurnRows + 1];
  __shared__ int64_t begins[kTurnRows];
  __shared__ int lengths[kTurnRows];
  __shared__ uint32_t times[kTimes];
  for (int i = int(threadIdx.x); i < kTimes; i += kThreads) times[i] = 0;
  const int row_blocks = layer.padded_rows / kTurnRows;
  const int first_row = block % row_blocks * kTurnRows, first_position = block / row_blocks * kTurnPositions;
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
  const TableRows rows = table_rows(run);
  if (threadIdx.x < kTurnRows) {
    const int row = first_row + lane;
    Segment segment{row, row + 1};
    if (row >= layer.rows) segment = {0, 0};
    else if (run.tile) segment = segment_of(run.offsets, row, run.capacity);
    begins[lane] = segment.begin + first_position;
    lengths[lane] = int(min(segment.end - segment.begin, int64_t(run.positions))) - first_position;
  }
  __syncthreads();
  uint32_t places[kRows][kLanes];
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int j = 0; j < kLanes; ++j) {
      const int row = warp * kRows + i, position = 32 * j + lane;
      places[i][j] = kNowhere;
      if (position < lengths[row])
        places[i][j] = run.tile ? run.inverse[begins[row] + position] : uint32_t(begins[row]);
    }
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int j = 0; j < kLanes; ++j) {
      const uint32_t place = places[i][j] - rows.first;  // what is below becomes large
      turned[32 * j + lane][warp * kRows + i] = place < rows.count ? place : kNowhere;
      if (place < rows.count) atomicAdd(&times[place % kTimes], 1u);
    }
  __syncthreads();
  uint32_t most = 0;
  for (int i = int(threadIdx.x); i < kTimes; i += kThreads) most = max(most, times[i]);
  const float most_of_block = largest_of_block(float(most));  // exact: there are 4096 places
  if (threadIdx.x == 0) run.repeats[block] = uint32_t(most_of_block);
#pragma unroll 4
  for (int position = warp; position < min(kTurnPositions, run.positions - first_position); position += kWarps)
    run.places[int64_t(first_position + position) * layer.padded_rows + first_row + lane] = turned[position][lane];
}

__device__ __forceinline__ void write_directory(const HalfLayer& layer) {
  const int i = int(threadIdx.x);
  if (i == 0) layer.directory->count = layer.runs.count;
  if (i >= layer.runs.count) return;
  const HalfRun& run = layer.runs.run[i];
  layer.directory->run[i] = {run.first_column, run.columns, run.dim, places_blocks(layer, run), run.places,
                             run.repeats};
}

// What does not depend on the inputs' values. Each block does one of two things, that first which waits longest for
// memory: it turns places, or splits a patch of the weight. In 64 registers, so that four fit on a multiprocessor: 23 to 22 µs.
template <class F>
__global__ void __launch_bounds__(kThreads, 4) prepare_kernel(const HalfLayer layer, const float* weight) {
  wait_for_stream();
  int block = int(blockIdx.x);
  if (block == 0) write_directory(layer);
  for (int r = 0; r < layer.runs.count; ++r) {
    const HalfRun& run = layer.runs.run[r];
    const int count = places_blocks(layer, run);
    if (block < count) return turn_places(layer, run, block);
    block -= count;
  }
  split_weight<F>(layer, weight, block % layer.runs.chunks, block / layer.runs.chunks);
}

// The largest of the tables, a row of kLargestBlocks blocks each.
__global__ void __launch_bounds__(kThreads) largest_kernel(const HalfRuns runs) {
  wait_for_stream();
  find_largest(runs.run[blockIdx.y], int(blockIdx.x));
}

// So many bytes of copies a table has at most, and so many copies.
constexpr int64_t kCopiesBytes = 2 << 20, kMostCopies = 32;

// Splits the tables' rows, a row of blocks each.
template <class F>
__global__ void __launch_bounds__(kThreads) split_tables_kernel(const HalfRuns runs) {
  wait_for_stream();
  const HalfRun& run = runs.run[blockIdx.y];
  if (!run.own) return;
  const TableRows rows = table_rows(run);
  const float scale = scale_for(largest_of_block(threadIdx.x < kLargestBlocks ? run.largest[threadIdx.x] : 0));
  // Of all copies too, units are counted in 32 bits.
  const uint32_t groups = rows.count * uint32_t(run.dim / kUnit);
  const int64_t bytes = int64_t(groups) * F::kParts * int64_t(sizeof(Unit));
  const int copies = int(max(int64_t(1), min(kMostCopies, kCopiesBytes / max(bytes, int64_t(1)))));
  const int64_t first_unit = int64_t(rows.first) * (run.dim / kUnit) * F::kParts;
  if (grid_thread() == 0) *run.table = {1 / scale, copies, int(groups * F::kParts), int(first_unit)};
  Unit* const to = copies > 1 ? run.copies : run.units + first_unit;
  const Pack<float>* const packs = reinterpret_cast<const Pack<float>*>(run.x + int64_t(rows.first) * run.dim);
  for (uint32_t i = uint32_t(grid_thread()); i < groups * uint32_t(copies); i += uint32_t(grid_threads())) {
    const int64_t group = i % groups;
    const Pack<float> x[2] = {packs[2 * group], packs[2 * group + 1]};
    Unit parts[F::kParts];
    split<F>(x, scale, parts);
#pragma unroll
    for (int part = 0; part < F::kParts; ++part) to[int64_t(i) * F::kParts + part] = parts[part];
  }
}

// Splits a gradient: a block has a step of rows by 128 columns.
template <class F>
__global__ void __launch_bounds__(kThreads) split_gradient_kernel(const HalfLayer layer, const float* d_y) {
  wait_for_stream();
  constexpr int kGroups = kTileColumns / kUnit, kUnits = kGroups * F::kParts;
  const int output_tiles = layer.output_tiles();
  const int output_tile = int(blockIdx.x) % output_tiles, step = int(blockIdx.x) / output_tiles;
  const Patch<F> patch = load_patch<F>([&](int item) {
    const int row = step * F::kStep + item / kGroups, column = output_tile * kTileColumns + item % kGroups * kUnit;
    return row < layer.rows && column < layer.outputs ? d_y + int64_t(row) * layer.outputs + column : nullptr;
  });
  const int64_t first_row = int64_t(output_tile) * layer.padded_rows + step * F::kStep;
  Unit* const units = layer.d_y.units + first_row * kUnits;
#pragma unroll
  for (int k = 0; k < kPatchItems<F>; ++k) {
    const int item = int(threadIdx.x) + k * kThreads, line = item / kGroups, group = item % kGroups;
    Unit parts[F::kParts];
    split<F>(patch.x[k], patch.scale, parts);
#pragma unroll
    for (int part = 0; part < F::kParts; ++part)
      units[(line / 8 * kUnits + group * F::kParts + part) * 8 + line % 8] = parts[part];
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kUnit; ++i) sum += square<false>(patch.x[k], i, patch.scale);
    for (int distance = kGroups / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(~0u, sum, distance);
    if (group == 0) layer.d_y.norm[first_row + line] = unscale_of(sqrtf(sum) * kNormSlack, 1 / patch.scale);
  }
  if (threadIdx.x == 0) layer.d_y.unscale[step * output_tiles + output_tile] = 1 / patch.scale;
}

}  // namespace recis
