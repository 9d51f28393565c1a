// What a block adds up in registers: tiles of two operands in shared memory, multiplied.
#pragma once

#include "ptx.cuh"

#include <type_traits>

namespace recis {

// How a block computes `kRows` x `kColumns` of a result: in steps of `kStep` along k. A thread has
// `kQuads` times four neighbouring results; `kBlocks` blocks fit on a multiprocessor; loads are
// always of four neighbours if `kWide`.

// For results that are small or hardly deep: fused multiply-adds, a thread owns 4 x 4.
struct SmallShape {
  static constexpr int kRows = 32, kColumns = 32, kStep = 16, kThreads = 64, kQuads = 4;
  static constexpr int kBlocks = 8;
  static constexpr bool kWide = false;
  static constexpr size_t kSharedBytes = 4 * 4 * kRows * kStep;
};
// For all others: the tensor cores. bfloat16 spills a few registers with two blocks: with one it is slower.
template <recis_precision precision>
struct LargeShape {
  static constexpr int kRows = 128, kColumns = 128, kStep = 16, kThreads = 256, kQuads = 16;
  static constexpr int kBlocks = precision == RECIS_FP32 ? 1 : 2;
  static constexpr bool kWide = true;
  // Of the form that wants most: each number in two parts, with some room between tiles.
  static constexpr size_t kSharedBytes = (precision == RECIS_FP32 ? 2 : 1) * 4 * (4 * kRows * kStep + 128);
};

// Sums of products in the thread's registers:
//   A, B                         tiles of the operands in shared memory
//   begin(a, b), finish()        add a tile's products, which are not complete, nor the tiles free, before
//                                both have been called
//   publish()                    to call between putting something into tiles and the barrier
//   quad(q)                      four neighbours in a row of the result,
//   row_of(q), column_of(q)      and where they are in the tile
template <class S>
class InnerProduct;

// Tiles of both operands, of one step and the next.
template <class S>
struct Tiles {
  typename InnerProduct<S>::A a[2];
  typename InnerProduct<S>::B b[2];
};

// A tile as [step][lines], a line being a row of a or a column of b. Lines are permuted within 32 so that
// every bank is met once by a warp that writes four k each of several lines, and by eight lanes that read
// four lines each of four k. Four lines from a multiple of four stay side by side.
template <int lines, int step>
class LineTile {
 public:
  // Four k of a line from a multiple of four.
  __device__ __forceinline__ void put_along(int k, int line, const Pack<float>& values) {
    float* const elements = reinterpret_cast<float*>(packs_);
#pragma unroll
    for (int j = 0; j < 4; ++j) elements[place(k + j, line)] = values.value[j];
  }
  // Four lines of a k from a multiple of four, and back.
  __device__ __forceinline__ void put_across(int k, int line, const Pack<float>& values) {
    packs_[place(k, line) / 4] = values;
  }
  __device__ __forceinline__ Pack<float> read(int k, int line) const { return packs_[place(k, line) / 4]; }

 private:
  __device__ __forceinline__ static unsigned place(unsigned k, unsigned line) {
    return k * lines + (line ^ (k % 4 * 4) ^ (k / 4 % 4 * 8));
  }
  Pack<float> packs_[lines * step / 4];
};

template <>
class InnerProduct<SmallShape> {
  using S = SmallShape;

 public:
  using A = LineTile<S::kRows, S::kStep>;
  using B = LineTile<S::kColumns, S::kStep>;

  __device__ __forceinline__ void begin(const A& a, const B& b) {
#pragma unroll
    for (int k = 0; k < S::kStep; ++k) {
      const Pack<float> x = a.read(k, row_of(0)), y = b.read(k, column_of(0));
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sums_[i].value[j] += x.value[i] * y.value[j];
    }
  }
  __device__ __forceinline__ void finish() {}
  __device__ __forceinline__ static void publish() {}

  __device__ __forceinline__ Pack<float> quad(int q) const { return sums_[q]; }
  __device__ __forceinline__ static int row_of(int q) { return int(threadIdx.x) / 2 % 8 * 4 + q; }
  // Neighbouring lanes differ in both: a load of either operand then takes the fewest passes.
  __device__ __forceinline__ static int column_of(int) {
    const int lane = int(threadIdx.x) % 32;
    return int(threadIdx.x) / 32 * 16 + (lane / 16 * 2 + lane % 2) * 4;
  }

 private:
  Pack<float> sums_[4] = {};
};

// The operands of mma for four lines each, as the precision wants them.
struct Tf32Terms {
  static constexpr int kDepth = 8;  // k of one mma
  uint32_t value[4][2];             // [line][k = t, t + 4]

  template <class Tile>
  __device__ __forceinline__ void read(const Tile& tile, int k, int line) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const Pack<float> x = tile.read(k + 4 * half, line);
#pragma unroll
      for (int i = 0; i < 4; ++i) value[i][half] = to_tf32(x.value[i]);
    }
  }
};

struct Bf16Terms {
  static constexpr int kDepth = 16;
  uint32_t value[4][2];  // [line][k = t, t + 4 and t + 8, t + 12]: any order will do that both operands have

  template <class Tile>
  __device__ __forceinline__ void read(const Tile& tile, int k, int line) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const Pack<float> x = tile.read(k + 8 * half, line);
      const Pack<float> y = tile.read(k + 8 * half + 4, line);
#pragma unroll
      for (int i = 0; i < 4; ++i) value[i][half] = to_bf16(x.value[i], y.value[i]);
    }
  }
};

// A number is the sum of two TF32 ones but for its last bit. What is left out of a product, the low parts'
// product and what a low part lacks, is below what rounding its sum in f32 makes of it where there is more
// than a few dozen of them. An infinity has no low part: it makes NaN.
__device__ __forceinline__ uint32_t high_bits(float x) {
  // Not by to_tf32(): a conversion takes four times as long.
  return (__float_as_uint(x) + 0x1000u) & 0xffffe000u;
}
struct SplitTerms {
  static constexpr int kDepth = 8;
  uint32_t high[4][2], low[4][2];

  template <class Tile>
  __device__ __forceinline__ void read(const Tile& tile, int k, int line) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const Pack<float> x = tile.read(k + 4 * half, line);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        high[i][half] = high_bits(x.value[i]);
        low[i][half] = __float_as_uint(x.value[i] - __uint_as_float(high[i][half]));
      }
    }
  }
};

// A warp owns 64 x 32.
template <recis_precision precision>
class MmaProduct {
  using S = LargeShape<precision>;
  using Terms = std::conditional_t<precision == RECIS_FP32, SplitTerms,
                                   std::conditional_t<precision == RECIS_TF32, Tf32Terms, Bf16Terms>>;

 public:
  using A = LineTile<S::kRows, S::kStep>;
  using B = LineTile<S::kColumns, S::kStep>;

  __device__ __forceinline__ void begin(const A& a, const B& b) {
    // Unrolled, both halves of a step would want their registers at once.
#pragma unroll 1
    for (int k = 0; k < S::kStep; k += Terms::kDepth) {
      Terms y;
      y.read(b, k + lane() % 4, first_column() + place(lane() / 4));
#pragma unroll
      for (int i = 0; i < 4; i += 2) {
        Terms x;
        x.read(a, k + lane() % 4, first_row() + i * 16 + place(lane() / 4));
        add_rows(sums_[i], x, 0, y);
        add_rows(sums_[i + 1], x, 2, y);
      }
    }
  }

  __device__ __forceinline__ void finish() {}
  __device__ __forceinline__ static void publish() {}

  __device__ __forceinline__ Pack<float> quad(int q) const {
    Pack<float> values;
#pragma unroll
    for (int j = 0; j < 4; ++j) values.value[j] = sums_[q / 4][j][q % 4];
    return values;
  }
  __device__ __forceinline__ static int row_of(int q) {
    const int i = q / 4;
    return first_row() + i / 2 * 32 + place(lane() / 4) + i % 2 * 2 + q / 2 % 2;
  }
  __device__ __forceinline__ static int column_of(int q) {
    return first_column() + place(lane() % 4 * 2 + q % 2);
  }

 private:
  using Sums = float[4][4];  // [mma of four columns apart][as mma has them]

  // Rows of x, and all of y. Sums of the tensor cores are not rounded but cut: they stay short.
  __device__ __forceinline__ static void add_rows(Sums& sums, const Terms& x, int first, const Terms& y) {
    const auto rows = [&](const uint32_t(&of)[4][2]) {
      return Operand{{of[first][0], of[first + 1][0], of[first][1], of[first + 1][1]}};
    };
    if constexpr (precision == RECIS_FP32) {
      const Operand high = rows(x.high), low = rows(x.low);
      Sums part{};
#pragma unroll
      for (int j = 0; j < 4; ++j) mma_tf32(part[j], low.value, y.high[j]);
#pragma unroll
      for (int j = 0; j < 4; ++j) mma_tf32(part[j], high.value, y.low[j]);
#pragma unroll
      for (int j = 0; j < 4; ++j) mma_tf32(part[j], high.value, y.high[j]);
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int c = 0; c < 4; ++c) sums[j][c] += part[j][c];
    } else {
      const Operand all = rows(x.value);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if constexpr (precision == RECIS_TF32) mma_tf32(sums[j], all.value, y.value[j]);
        else mma_bf16(sums[j], all.value, y.value[j]);
      }
    }
  }
  struct Operand {
    uint32_t value[4];
  };

  // Rows and columns of the result are dealt to mma's so that a thread has four neighbours of each of two
  // rows in four mma's: mma's row or column `n` stands for four lines from place(n) on, of 32.
  __device__ __forceinline__ static int place(int n) { return n % 2 * 16 + n / 2 * 4; }
  __device__ __forceinline__ static int first_row() { return int(threadIdx.x) / 32 % 2 * 64; }
  __device__ __forceinline__ static int first_column() { return int(threadIdx.x) / 64 * 32; }
  __device__ __forceinline__ static int lane() { return int(threadIdx.x) % 32; }

  Sums sums_[4] = {};  // [mma's of rows]
};

template <recis_precision precision>
class InnerProduct<LargeShape<precision>> : public MmaProduct<precision> {};

}  // namespace recis
