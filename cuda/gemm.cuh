// Matrix products in f32: result[row, column] = the sum over k of a[row, k] * b[k, column].
//
// Four parts, each of which can be exchanged: loaders bring the operands' tiles to shared memory
// (matrix.cuh and linear_tile.cuh), an inner product multiplies them, a pipeline overlaps both, and
// the problem says what a tile of the result is made of and where it goes.
#pragma once

#include "common.cuh"

#include <algorithm>
#include <type_traits>

namespace recis {

// How a block computes `rows` x `columns` of a result: in steps of `step` along k; a thread owns
// thread_rows x thread_columns, a warp is 8 x 4 threads. `blocks` fit on a multiprocessor.
template <int rows, int columns, int step, int thread_rows, int thread_columns, int blocks>
struct Shape {
  static constexpr int kRows = rows, kColumns = columns, kStep = step;
  static constexpr int kThreadRows = thread_rows, kThreadColumns = thread_columns;
  static constexpr int kThreads = rows / thread_rows * (columns / thread_columns);
  static constexpr int kBlocks = blocks;
  static constexpr int kQuads = thread_rows * thread_columns / 4;  // of a thread's results
};
// Many results a thread: then shared memory keeps up with the arithmetic, and registers suffice.
using LargeShape = Shape<128, 128, 8, 16, 8, 2>;
using SmallShape = Shape<32, 32, 16, 4, 4, 8>;

// k is dealt to blocks in chunks of this many: whole steps of every shape.
constexpr int kChunk = 32;

// A tile in shared memory is [step][lines], a line being a row of a or a column of b. Lines are
// permuted within 32 so that a warp that writes four k each of several lines meets every bank once.
// Four lines from a multiple of four stay side by side.
template <class S>
__device__ __forceinline__ unsigned permuted(unsigned k, unsigned line) {
  return line ^ (k / 4 * (128 / S::kStep));
}

template <class S>
struct Tiles {
  Pack<float> a[2][S::kRows * S::kStep / 4], b[2][S::kColumns * S::kStep / 4];
};

// Sums of products in the thread's registers, by fused multiply-adds.
template <class S>
class InnerProduct {
 public:
  // Adds a tile's products.
  __device__ __forceinline__ void add(const Pack<float>* a, const Pack<float>* b) {
    const unsigned row = row_of(0), column = column_of(0);
#pragma unroll
    for (int k = 0; k < S::kStep; ++k) {
      Pack<float> x[S::kThreadRows / 4], y[S::kThreadColumns / 4];
#pragma unroll
      for (int g = 0; g < kRowGroups; ++g)
        x[g] = a[(k * S::kRows + g * (S::kRows / kRowGroups)) / 4 + permuted<S>(k, row) / 4];
#pragma unroll
      for (int g = 0; g < kGroups; ++g)
        y[g] = b[(k * S::kColumns + g * (S::kColumns / kGroups)) / 4 + permuted<S>(k, column) / 4];
#pragma unroll
      for (int i = 0; i < S::kThreadRows; ++i)
#pragma unroll
        for (int j = 0; j < S::kThreadColumns; ++j)
          sums_[i][j] += x[i / 4].value[i % 4] * y[j / 4].value[j % 4];
    }
  }

  // Four neighbours in a row of the result, and where they are in the tile.
  __device__ __forceinline__ Pack<float> quad(int q) const {
    Pack<float> values;
#pragma unroll
    for (int j = 0; j < 4; ++j) values.value[j] = sums_[q / kGroups][q % kGroups * 4 + j];
    return values;
  }
  __device__ __forceinline__ static int row_of(int q) {
    const int i = q / kGroups;
    return warp() % kWarps * 32 + lane() / 2 % 8 * 4 + i / 4 * (S::kRows / kRowGroups) + i % 4;
  }
  __device__ __forceinline__ static int column_of(int q) {
    // Neighbouring lanes differ in both: a load of either operand then takes the fewest passes.
    const int place = lane() / 16 * 2 + lane() % 2;
    return warp() / kWarps * 16 + place * 4 + q % kGroups * (S::kColumns / kGroups);
  }

 private:
  // A thread's rows and columns come in groups of four.
  static constexpr int kRowGroups = S::kThreadRows / 4, kGroups = S::kThreadColumns / 4;
  static constexpr int kWarps = S::kRows / kRowGroups / 32;  // one above the other
  __device__ __forceinline__ static int lane() { return int(threadIdx.x) % 32; }
  __device__ __forceinline__ static int warp() { return int(threadIdx.x) / 32; }

  float sums_[S::kThreadRows][S::kThreadColumns] = {};
};

// Adds `steps` steps of products to `sum`. While a tile is multiplied, the next one is on its way to
// registers.
template <class S, class A, class B>
__device__ __forceinline__ void accumulate(InnerProduct<S>& sum, A a, B b, int steps, Tiles<S>& tiles) {
  if (steps <= 0) return;
  Pack<float> next_a[A::kLoads], next_b[B::kLoads];
  a.fetch(next_a);
  b.fetch(next_b);
  A::deposit(next_a, tiles.a[0]);
  B::deposit(next_b, tiles.b[0]);
  __syncthreads();
  for (int step = 0; step < steps; ++step) {
    const int now = step % 2;
    const bool more = step + 1 < steps;
    if (more) {
      a.fetch(next_a);
      b.fetch(next_b);
    }
    sum.add(tiles.a[now], tiles.b[now]);
    if (more) {
      A::deposit(next_a, tiles.a[1 - now]);
      B::deposit(next_b, tiles.b[1 - now]);
    }
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
//   chunks()                     how many chunks of k there are
//   tiles(rows, columns)         how many tiles of that size its result has
//   place<S>(tile)               where a tile begins
//   add<S>(place, begin, end, sum, tiles)     adds the products of the chunks begin..end
//   store(place, row, column, values)         writes four neighbours, row and column in the tile

// Tiles times splits of k: if k is split, each split's sums go to `partial`, [split][tile][quad][thread].
template <class S, class Problem>
__global__ void __launch_bounds__(S::kThreads, S::kBlocks)
    product_kernel(const Problem problem, Pack<float>* partial, unsigned tile_count, unsigned splits) {
  __shared__ Tiles<S> tiles;
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
Plan plan_for(const Problem& problem) {
  constexpr int64_t kMultiprocessors = 132;
  // Shorter splits cost more in partial sums than they gain.
  constexpr int64_t kSplitChunks = 4;
  const int64_t tiles = problem.tiles(S::kRows, S::kColumns);
  const int64_t room = kMultiprocessors * S::kBlocks / std::max<int64_t>(tiles, 1);
  const int64_t splits = std::max<int64_t>(1, std::min(room, problem.chunks() / kSplitChunks));
  const int64_t sums = splits == 1 ? 0 : splits * tiles * S::kRows * S::kColumns;
  return {std::is_same_v<S, LargeShape>, tiles, splits, size_t(sums) * sizeof(float)};
}

// Large tiles if enough of the device gets one and they are not mostly empty.
template <class Problem>
Plan plan(const Problem& problem) {
  constexpr int64_t kEnough = 66;
  const Plan large = plan_for<LargeShape>(problem);
  const bool full = problem.rows() > LargeShape::kRows / 2 && problem.columns() > LargeShape::kColumns / 2;
  return full && large.tiles * large.splits >= kEnough ? large : plan_for<SmallShape>(problem);
}

template <class S, class Problem>
int multiply_in(const char* op, const Problem& problem, const Plan& plan, void* workspace,
                recis_stream_t stream) {
  auto* partial = static_cast<Pack<float>*>(workspace);
  const unsigned blocks = unsigned(plan.tiles * plan.splits);
  const int status = launch(op, product_kernel<S, Problem>, blocks, S::kThreads, 0, stream, problem, partial,
                            unsigned(plan.tiles), unsigned(plan.splits));
  if (status != RECIS_OK || plan.splits == 1) return status;
  return launch(op, reduce_kernel<S, Problem>, unsigned(plan.tiles * S::kQuads), S::kThreads, 0, stream, problem,
                partial, unsigned(plan.tiles), unsigned(plan.splits));
}

// Computes a problem. The workspace has plan(problem).bytes.
template <class Problem>
int multiply(const char* op, const Problem& problem, void* workspace, recis_stream_t stream) {
  const Plan how = plan(problem);
  if (how.tiles == 0) return RECIS_OK;
  return how.large ? multiply_in<LargeShape>(op, problem, how, workspace, stream)
                   : multiply_in<SmallShape>(op, problem, how, workspace, stream);
}

}  // namespace recis
