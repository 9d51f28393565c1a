// Sums of a tile's gradient in any order: clearing them, making them of a gradient that is written, and handing them
// on.
#include "order_free.cuh"

#include "halves.cuh"

#include <algorithm>

namespace recis {
namespace {

// A row of blocks a tile.
__global__ void __launch_bounds__(kThreads) clear_kernel(const OrderFreeTiles tiles) {
  wait_for_stream();
  const OrderFree& of = tiles.of[blockIdx.y];
  const OrderFreeRows rows = order_free_rows(of);
  const int64_t words = int64_t(rows.copies) * rows.count * of.dim;
  for (int64_t i = grid_thread(); i < words; i += grid_threads()) of.sums[i] = 0;
  const int64_t first = int64_t(rows.first) * of.dim, end = first + int64_t(rows.count) * of.dim;
  for (int64_t i = first + grid_thread(); i < end; i += grid_threads()) of.floats[i] = 0;
  if (grid_thread() == 0) *of.units = {};
}

// The largest finite number of a gradient.
__global__ void __launch_bounds__(kThreads) largest_kernel(const float* d_x, int64_t count, OrderFreeUnits* units) {
  wait_for_stream();
  float mine = 0;
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) mine = max(mine, size_of(d_x[i]));
  const float largest = largest_of_block(mine);
  if (threadIdx.x == 0) atomicMax(&units->largest, __float_as_uint(largest));
}

__global__ void __launch_bounds__(kThreads)
    add_kernel(const OrderFree of, const recis_lookup lookup, int64_t tile_len, const float* d_x) {
  wait_for_stream();
  const OrderFreeRows rows = order_free_rows(of);
  unsigned long long* const sums = own_sums(of, rows);
  double unit = 1;
  if (of.sums) {
    int log_largest;
    frexpf(__uint_as_float(of.units->largest), &log_largest);
    unit = order_free_unit(log_largest, of.log_terms, kSumBits);
    if (grid_thread() == 0) of.units->unit = unit, of.units->in_pairs = false;
  }
  const int64_t columns = tile_len * of.dim;
  for (int64_t i = grid_thread(); i < lookup.segments * columns; i += grid_threads()) {
    const int64_t segment = i / columns, position = i % columns / of.dim;
    const int column = int(i % of.dim);
    const Segment ids = segment_of(lookup.offsets, segment, lookup.capacity);
    if (position >= ids.end - ids.begin) continue;
    const uint32_t row = lookup.inverse[lookup.first_id + ids.begin + position] - rows.first;
    if (row >= rows.count) continue;
    const float term = d_x[i];
    if (of.sums && term - term == 0)
      add_term(sums + int64_t(row) * of.dim + order_free_word(column, of.dim), llrint(term / unit));
    else
      atomicAdd(of.floats + (int64_t(rows.first) + row) * of.dim + column, term);
  }
}

// The sum at a place among a tile's rows, in its units. All loads are under way at once, as in those below.
__device__ __forceinline__ double sum_at(const OrderFree& of, const OrderFreeRows& rows, int64_t i) {
  const int column = int(i % of.dim);
  const int64_t words = int64_t(rows.count) * of.dim, word = i - column + order_free_word(column, of.dim);
  unsigned long long sum = 0;
#pragma unroll
  for (uint32_t copy = 0; copy < kMostSums; ++copy)
    if (copy < rows.copies) sum += of.sums[copy * words + word];
  return double(int64_t(sum));
}

// Two of them, in pairs.
struct TwoSums {
  double of[2];
};
__device__ __forceinline__ TwoSums pair_at(const OrderFree& of, const OrderFreeRows& rows, int64_t pair) {
  const int64_t words = int64_t(rows.count) * (of.dim / 2);
  unsigned long long sums[kMostClasses] = {};
#pragma unroll
  for (uint32_t which = 0; which < kMostClasses; ++which)
#pragma unroll
    for (uint32_t copy = 0; copy < kMostPairs; ++copy)
      if (which < rows.classes && copy < rows.pair_copies)
        sums[which] += of.sums[(copy * rows.classes + which) * words + pair];
  const double smaller = scalbn(1.0, -of.units->class_log);
  TwoSums sum{};
#pragma unroll
  for (int which = int(kMostClasses) - 1; which >= 0; --which) {
    sum.of[0] = sum.of[0] * smaller + low_of(sums[which]);
    sum.of[1] = sum.of[1] * smaller + high_of(sums[which]);
  }
  return sum;
}

// Two neighbours of the gradient are one thread's, whichever tiles it has sums of.
__global__ void __launch_bounds__(kThreads) finish_kernel(const OrderFreeTiles tiles, float* d_embeddings) {
  wait_for_stream();
  for (int tile = 0; tile < tiles.count; ++tile) {
    const OrderFree& of = tiles.of[tile];
    const OrderFreeRows rows = order_free_rows(of);
    const int64_t first = int64_t(rows.first) * of.dim, end = first + int64_t(rows.count) * of.dim;
    const double unit = of.units->unit;
    const bool in_pairs = of.units->in_pairs;  // then no pair is of two rows
    int64_t pair = first / 2 / grid_threads() * grid_threads() + grid_thread();
    for (pair += pair < first / 2 ? grid_threads() : 0; 2 * pair < end; pair += grid_threads()) {
      const TwoSums two = in_pairs ? pair_at(of, rows, pair - first / 2) : TwoSums{};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int64_t i = 2 * pair + half;
        if (i < first || i >= end) continue;
        const double sum = in_pairs ? two.of[half] : sum_at(of, rows, i - first);
        d_embeddings[i] += float(sum * unit) + of.floats[i];
      }
    }
  }
}

}  // namespace

OrderFree order_free(Workspace& workspace, const recis_tile& tile, bool unordered, float* d_embeddings) {
  const recis_lookup& lookup = tile.lookup;
  OrderFree of{};
  of.range = tile.range;
  of.unique = uint32_t(std::min<int64_t>(lookup.unique, INT32_MAX));
  of.dim = int(lookup.dim);
  // As many as there are places, whatever the offsets hold.
  while (of.log_terms < 48 && int64_t(1) << of.log_terms < lookup.segments * tile.tile_len) ++of.log_terms;
  if (unordered) {
    of.floats = d_embeddings;
    return of;
  }
  const int64_t one = int64_t(of.unique) * of.dim, word = sizeof(*of.sums);
  of.sums = workspace.take<unsigned long long>(std::max(one, std::min(kSumsBytes / word, kMostSums * one)));
  of.floats = workspace.take<float>(one);
  of.units = workspace.take<OrderFreeUnits>(1);
  return of;
}

int clear_order_free(const char* op, const OrderFreeTiles& tiles, recis_stream_t stream) {
  int64_t words = kSumsBytes / int64_t(sizeof(*tiles.of->sums));
  for (int i = 0; i < tiles.count; ++i) words = std::max(words, int64_t(tiles.of[i].unique) * tiles.of[i].dim);
  return launch(op, clear_kernel, dim3(blocks_for(words, 132 * 4), unsigned(tiles.count)), kThreads, 0, stream, tiles);
}

int add_order_free(const char* op, const OrderFree& of, const recis_tile& tile, const float* d_x,
                   recis_stream_t stream) {
  const int64_t count = tile.lookup.segments * tile.tile_len * tile.lookup.dim;
  if (of.sums)
    if (int status = launch(op, largest_kernel, blocks_for(count), kThreads, 0, stream, d_x, count, of.units))
      return status;
  return launch(op, add_kernel, blocks_for(count), kThreads, 0, stream, of, tile.lookup, tile.tile_len, d_x);
}

int finish_order_free(const char* op, const OrderFreeTiles& tiles, float* d_embeddings, recis_stream_t stream) {
  int64_t most = 0;
  for (int i = 0; i < tiles.count; ++i) most = std::max(most, int64_t(tiles.of[i].unique) * tiles.of[i].dim);
  return launch(op, finish_kernel, blocks_for((most + 1) / 2), kThreads, 0, stream, tiles, d_embeddings);
}

}  // namespace recis
