// Matrix products: result[row, column] = the sum over k of a[row, k] * b[k, column].
//
// Four parts, each of which can be exchanged: loaders bring the operands' tiles to shared memory
// (matrix.cuh and linear_tile.cuh), an inner product multiplies them (inner_product.cuh and, on Hopper,
// wgmma_product.cuh), a pipeline overlaps both, and the problem says what a tile of the result is made of and
// where it goes.
#pragma once

#include "inner_product.cuh"
#include "wgmma_product.cuh"

#include <algorithm>
#include <type_traits>

namespace recis {

// k is dealt to blocks in chunks of this many: whole steps of every shape.
constexpr int kChunk = 32;

// Adds `steps` steps of products to `sum`. While a tile is multiplied, the next one is put into shared
// memory, and the one behind that is on its way to registers.
template <class S, class A, class B>
__device__ __forceinline__ void accumulate(InnerProduct<S>& sum, A a, B b, int steps, Tiles<S>& tiles) {
  if (steps <= 0) return;
  Pack<float> next_a[A::kLoads], next_b[B::kLoads];
  const auto fetch = [&] {
    a.fetch(next_a);
    b.fetch(next_b);
  };
  const auto deposit = [&](int tile) {
    A::deposit(next_a, tiles.a[tile]);
    B::deposit(next_b, tiles.b[tile]);
    sum.publish();
  };
  fetch();
  deposit(0);
  if (steps > 1) fetch();
  __syncthreads();
  for (int step = 0; step < steps; ++step) {
    sum.begin(tiles.a[step % 2], tiles.b[step % 2]);
    if (step + 1 < steps) deposit((step + 1) % 2);
    if (step + 2 < steps) fetch();
    sum.finish();
    __syncthreads();
  }
}

// A tile of a result: where it begins, and a number for the problem's own use.
struct TilePlace {
  int row, column, part;
};

// Where results go: data[row * stride + column], plus the column's bias if there is one, plus what is
// there if `accumulate`.
struct Output {
  float* data;
  int64_t stride;
  const float* bias;
  bool accumulate;
  bool wide;  // four columns from a multiple of four are 16 bytes, aligned

  // Writes the first `count` of four neighbours.
  __device__ __forceinline__ void store(int row, int column, int count, Pack<float> values) const {
    float* const at = data + row * stride + column;
    if (bias) {
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (j < count) values.value[j] += bias[column + j];
    }
    if (wide) {
      Pack<float>* const pack = reinterpret_cast<Pack<float>*>(at);
      if (accumulate) {
        const Pack<float> old = *pack;
#pragma unroll
        for (int j = 0; j < 4; ++j) values.value[j] += old.value[j];
      }
      *pack = values;
      return;
    }
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (j < count) at[j] = accumulate ? at[j] + values.value[j] : values.value[j];
  }
};

// A problem has, besides its operands:
//   rows()                       of the result
//   columns()                    of its widest part
//   wide()                       whether all operands are read four neighbours at a time
//   chunks()                     how many chunks of k there are
//   tiles(rows, columns)         how many tiles of that size its result has
//   place<S>(tile)               where a tile begins
//   add<S>(place, begin, end, sum, tiles)     adds the products of the chunks begin..end
//   store(place, row, column, values)         writes four neighbours, row and column in the tile

// Tiles times splits of k: if k is split, each split's sums go to `partial`, [split][tile][quad][thread].
template <class S, class Problem>
__global__ void __launch_bounds__(S::kThreads, S::kBlocks)
    product_kernel(const Problem problem, Pack<float>* partial, unsigned tile_count, unsigned splits) {
  wait_for_stream();
  Tiles<S>& tiles = *dynamic_shared<Tiles<S>>();
  static_assert(sizeof(Tiles<S>) <= S::kSharedBytes);
  const unsigned tile = blockIdx.x % tile_count, split = blockIdx.x / tile_count;
  const TilePlace place = problem.template place<S>(tile);
  const int64_t chunks = problem.chunks();
  InnerProduct<S> sum;
  problem.template add<S>(place, int(chunks * split / splits), int(chunks * (split + 1) / splits), sum, tiles);
  if (splits == 1) {
#pragma unroll
    for (int q = 0; q < S::kQuads; ++q) problem.store(place, sum.row_of(q), sum.column_of(q), sum.quad(q));
  } else {
    Pack<float>* const mine = partial + int64_t(blockIdx.x) * S::kQuads * S::kThreads + threadIdx.x;
#pragma unroll
    for (int q = 0; q < S::kQuads; ++q) mine[q * S::kThreads] = sum.quad(q);
  }
}

// Adds up the splits in their order: a block for every tile and quad.
template <class S, class Problem>
__global__ void __launch_bounds__(S::kThreads)
    reduce_kernel(const Problem problem, const Pack<float>* partial, unsigned tile_count, unsigned splits) {
  wait_for_stream();
  const unsigned tile = blockIdx.x / S::kQuads;
  const int q = int(blockIdx.x % S::kQuads);
  const int64_t next = int64_t(tile_count) * S::kQuads * S::kThreads;
  const Pack<float>* from = partial + int64_t(blockIdx.x) * S::kThreads + threadIdx.x;
  Pack<float> sum = *from;
#pragma unroll 8
  for (unsigned split = 1; split < splits; ++split) {
    const Pack<float> values = from[split * next];
#pragma unroll
    for (int j = 0; j < 4; ++j) sum.value[j] += values.value[j];
  }
  problem.store(problem.template place<S>(tile), InnerProduct<S>::row_of(q), InnerProduct<S>::column_of(q), sum);
}

// How a problem is spread over the device.
struct Plan {
  bool large;  // the shape
  int64_t tiles, splits;
  size_t bytes;  // of partial sums
};

template <class S, class Problem>
Plan plan_for(const Problem& problem, bool large) {
  constexpr int64_t kMultiprocessors = 132;
  // Shorter splits cost more in partial sums than they gain.
  constexpr int64_t kSplitChunks = 4;
  const int64_t tiles = problem.tiles(S::kRows, S::kColumns);
  const int64_t room = kMultiprocessors * S::kBlocks / std::max<int64_t>(tiles, 1);
  const int64_t splits = std::max<int64_t>(1, std::min(room, problem.chunks() / kSplitChunks));
  const int64_t sums = splits == 1 ? 0 : splits * tiles * S::kRows * S::kColumns;
  return {large, tiles, splits, size_t(sums) * sizeof(float)};
}

// Large tiles if enough of the device gets one, they are not mostly empty, loads are wide, and sums deep
// enough for what tensor cores round.
template <recis_precision precision, class Problem>
Plan plan_at(const Problem& problem) {
  constexpr int64_t kEnough = 66;
  using Large = LargeShape<precision>;
  const Plan large = plan_for<Large>(problem, true);
  const bool full = problem.rows() > Large::kRows / 2 && problem.columns() > Large::kColumns / 2;
  return full && problem.wide() && problem.chunks() > 1 && large.tiles * large.splits >= kEnough
             ? large
             : plan_for<SmallShape>(problem, false);
}

// What `run` makes of the precision as a constant.
template <class Run>
auto at_precision(recis_precision precision, Run run) {
  if (precision == RECIS_TF32) return run(std::integral_constant<recis_precision, RECIS_TF32>());
  if (precision == RECIS_BF16) return run(std::integral_constant<recis_precision, RECIS_BF16>());
  return run(std::integral_constant<recis_precision, RECIS_FP32>());
}

template <class Problem>
Plan plan(const Problem& problem, recis_precision precision) {
  return at_precision(precision, [&](auto constant) { return plan_at<constant()>(problem); });
}

template <class S, class Problem>
int multiply_in(const char* op, const Problem& problem, const Plan& plan, void* workspace,
                recis_stream_t stream) {
  auto* partial = static_cast<Pack<float>*>(workspace);
  const unsigned blocks = unsigned(plan.tiles * plan.splits);
  const int status = launch(op, product_kernel<S, Problem>, blocks, S::kThreads, S::kSharedBytes, stream,
                            problem, partial, unsigned(plan.tiles), unsigned(plan.splits));
  if (status != RECIS_OK || plan.splits == 1) return status;
  return launch(op, reduce_kernel<S, Problem>, unsigned(plan.tiles * S::kQuads), S::kThreads, 0, stream, problem,
                partial, unsigned(plan.tiles), unsigned(plan.splits));
}

// Computes a problem. The workspace has the bytes of its plan.
template <class Problem>
int multiply(const char* op, const Problem& problem, recis_precision precision, void* workspace,
             recis_stream_t stream) {
  return at_precision(precision, [&](auto constant) {
    const Plan how = plan_at<constant()>(problem);
    if (how.tiles == 0) return int(RECIS_OK);
    return how.large ? multiply_in<LargeShape<constant()>>(op, problem, how, workspace, stream)
                     : multiply_in<SmallShape>(op, problem, how, workspace, stream);
  });
}

}  // namespace recis
