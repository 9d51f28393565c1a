// Matrices in memory as operands of a product.
#pragma once

#include "gemm.cuh"

namespace recis {

// An operand in memory. Its lines are the rows of a or the columns of b; either a line's elements or
// those of one k lie side by side.
struct Matrix {
  const float* data;
  int64_t stride;  // from one group of neighbours to the next
  int lines;
  bool wide;  // neighbours in fours from a multiple of four are 16 bytes, aligned, and all there or not
};

// `neighbours`: how many lie side by side.
inline Matrix matrix(const float* data, int64_t stride, int64_t lines, int64_t neighbours) {
  const bool aligned = reinterpret_cast<uintptr_t>(data) % 16 == 0;
  return {data, stride, int(lines), aligned && stride % 4 == 0 && neighbours % 4 == 0};
}

inline Output output(float* data, int64_t stride, int64_t columns, const float* bias, bool accumulate) {
  const bool aligned = reinterpret_cast<uintptr_t>(data) % 16 == 0;
  return {data, stride, bias, accumulate, aligned && stride % 4 == 0 && columns % 4 == 0};
}

// Four neighbours; zeros from the `rest`-th on.
template <class S>
__device__ __forceinline__ Pack<float> read_quad(const float* at, int rest, bool wide) {
  Pack<float> values{};
  if (S::kWide || wide) {
    if (rest > 0) values = *reinterpret_cast<const Pack<float>*>(at);
  } else {
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (j < rest) values.value[j] = at[j];
  }
  return values;
}

// How the threads of a block share a tile whose neighbours are of one line: four k of a line a load, and
// 16 k of eight lines a warp.
template <class S, int lines>
struct AlongLines {
  static constexpr int kLoads = lines * S::kStep / 4 / S::kThreads;
  static_assert(S::kStep == 16);
  __device__ __forceinline__ static int k() { return int(threadIdx.x) % 4 * 4; }
  __device__ __forceinline__ static int line(int load) { return (int(threadIdx.x) + load * S::kThreads) / 4; }
  template <class Tile>
  __device__ __forceinline__ static void deposit(const Pack<float> (&values)[kLoads], Tile& tile) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) tile.put_along(k(), line(i), values[i]);
  }
};

// As AlongLines, but neighbours are of one k: four lines of a k a load, and 32 lines of four k a warp.
template <class S, int lines>
struct AcrossLines {
  static constexpr int kLoads = lines * S::kStep / 4 / S::kThreads;
  static constexpr int kApart = S::kThreads * 4 / lines;  // k from one load to the next
  __device__ __forceinline__ static int line() { return warp() % (lines / 32) * 32 + int(threadIdx.x) % 8 * 4; }
  __device__ __forceinline__ static int k(int load) {
    return warp() / (lines / 32) * 4 + int(threadIdx.x) / 8 % 4 + load * kApart;
  }
  template <class Tile>
  __device__ __forceinline__ static void deposit(const Pack<float> (&values)[kLoads], Tile& tile) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) tile.put_across(k(i), line(), values[i]);
  }

 private:
  __device__ __forceinline__ static int warp() { return int(threadIdx.x) / 32; }
};

// Loads tiles of a matrix with data[line * stride + k].
template <class S, int lines>
class LoadAlong : public AlongLines<S, lines> {
  using Share = AlongLines<S, lines>;

 public:
  // From `k` on, to `end`.
  __device__ __forceinline__ LoadAlong(const Matrix& matrix, int first_line, int k, int end)
      : wide_(matrix.wide) {
#pragma unroll
    for (int i = 0; i < Share::kLoads; ++i) {
      const int line = first_line + Share::line(i);
      at_[i] = matrix.data + line * matrix.stride + k + Share::k();
      rest_[i] = line < matrix.lines ? end - k - Share::k() : 0;
    }
  }

  // The next step's.
  __device__ __forceinline__ void fetch(Pack<float> (&values)[Share::kLoads]) {
#pragma unroll
    for (int i = 0; i < Share::kLoads; ++i) {
      values[i] = read_quad<S>(at_[i], rest_[i], wide_);
      at_[i] += S::kStep;
      rest_[i] -= S::kStep;
    }
  }

 private:
  const float* at_[Share::kLoads];
  int rest_[Share::kLoads];
  bool wide_;
};

// Loads tiles of a matrix with data[k * stride + line].
template <class S, int lines>
class LoadAcross : public AcrossLines<S, lines> {
  using Share = AcrossLines<S, lines>;

 public:
  __device__ __forceinline__ LoadAcross(const Matrix& matrix, int first_line, int k, int end)
      : at_(matrix.data + (k + Share::k(0)) * matrix.stride + first_line + Share::line()),
        stride_(matrix.stride),
        rest_(matrix.lines - first_line - Share::line()),
        rest_k_(end - k - Share::k(0)),
        wide_(matrix.wide) {}

  __device__ __forceinline__ void fetch(Pack<float> (&values)[Share::kLoads]) {
#pragma unroll
    for (int i = 0; i < Share::kLoads; ++i) {
      const int apart = i * Share::kApart;
      values[i] = read_quad<S>(at_ + apart * stride_, apart < rest_k_ ? rest_ : 0, wide_);
    }
    at_ += S::kStep * stride_;
    rest_k_ -= S::kStep;
  }

 private:
  const float* at_;
  int64_t stride_;
  int rest_, rest_k_;
  bool wide_;
};

// The product of two matrices: see gemm.cuh for what a problem is.
template <template <class, int> class LoadA, template <class, int> class LoadB>
struct Product {
  Matrix a, b;
  int depth;
  Output out;

  int64_t rows() const { return a.lines; }
  int64_t columns() const { return b.lines; }
  bool wide() const { return a.wide && b.wide; }
  __host__ __device__ int chunks() const { return (depth + kChunk - 1) / kChunk; }
  int64_t tiles(int rows, int columns) const {
    return int64_t((a.lines + rows - 1) / rows) * ((b.lines + columns - 1) / columns);
  }

  template <class S>
  __device__ __forceinline__ TilePlace place(unsigned tile) const {
    const unsigned row_tiles = (a.lines + S::kRows - 1) / S::kRows;
    return {int(tile % row_tiles * S::kRows), int(tile / row_tiles * S::kColumns), 0};
  }

  template <class S>
  __device__ __forceinline__ void add(const TilePlace& place, int begin, int end, InnerProduct<S>& sum,
                                      Tiles<S>& tiles) const {
    const int first = begin * kChunk, last = min(end * kChunk, depth);
    accumulate(sum, LoadA<S, S::kRows>(a, place.row, first, last),
               LoadB<S, S::kColumns>(b, place.column, first, last),
               (last - first + S::kStep - 1) / S::kStep, tiles);
  }

  __device__ __forceinline__ void store(const TilePlace& place, int row, int column, Pack<float> values) const {
    const int r = place.row + row, c = place.column + column;
    if (r < a.lines && c < b.lines) out.store(r, c, b.lines - c, values);
  }
};

}  // namespace recis
