// A layer's input that is never written, as an operand of its products: runs of columns, each of them
// materialised or gathered from embeddings.
#pragma once

#include "matrix.cuh"
#include "order_free.cuh"

namespace recis {

constexpr int kMaxDense = 16;

// Columns of one input.
struct Run {
  const float* x;  // dense: [rows, columns]; a tile: embeddings [unique, dim]
  const uint32_t* inverse;  // these of a tile only; from its first id
  const int32_t* offsets;
  const uint32_t* range;  // the places that are its own; null: all
  int64_t capacity;
  uint32_t unique;
  int dim, tile_len;
  int first_column, columns;
  bool tile;
  bool wide;  // as Matrix's, for x
  bool wide_weight;  // likewise, for the weight's columns
};

struct Runs {
  Run run[kMaxDense + kMaxTiles];
  int count;

  bool wide() const {
    return std::all_of(run, run + count, [](const Run& run) { return run.wide && run.wide_weight; });
  }
};

// The ids of one row of the batch in a tile.
struct TileRow {
  int begin, length;
};
__device__ __forceinline__ TileRow tile_row(const Run& run, int64_t row) {
  const Segment segment = segment_of(run.offsets, row, run.capacity);
  return {int(segment.begin), min(int(segment.end - segment.begin), run.tile_len)};
}

// No embedding is there: ids of the batch are below 2^31.
constexpr uint32_t kNowhere = 0xffffffffu;

// Four elements of an embedding from `element` on; zeros if its place is out of bounds.
__device__ __forceinline__ Pack<float> embedding_quad(const Run& run, uint32_t place, int element) {
  Pack<float> values{};
  const float* const at = run.x + int64_t(place) * run.dim + element;
  if (place < run.unique) values = *reinterpret_cast<const Pack<float>*>(at);
  return values;
}

// One element of the tile's columns.
__device__ __forceinline__ float tile_element(const Run& run, const TileRow& row, int column) {
  const int position = column / run.dim;
  const uint32_t place = position < row.length ? run.inverse[row.begin + position] : kNowhere;
  return place < run.unique ? run.x[int64_t(place) * run.dim + column % run.dim] : 0.0f;
}

// Loads a tile's columns as k, rows of the batch as lines. Where an embedding is, is read a step
// before the embedding, so that neither load waits for the other.
template <class S, int lines>
class GatherAlong : public AlongLines<S, lines> {
  using Share = AlongLines<S, lines>;

 public:
  __device__ __forceinline__ GatherAlong(const Run& run, int rows, int first_line, int k)
      : run_(run), position_((k + Share::k()) / run.dim), element_((k + Share::k()) % run.dim) {
#pragma unroll
    for (int i = 0; i < Share::kLoads; ++i) {
      const int line = first_line + Share::line(i);
      row_[i] = line < rows ? tile_row(run, line) : TileRow{0, 0};
      place_[i] = look(i);
    }
  }

  __device__ __forceinline__ void fetch(Pack<float> (&values)[Share::kLoads]) {
    if (S::kWide || run_.wide) {
#pragma unroll
      for (int i = 0; i < Share::kLoads; ++i) values[i] = embedding_quad(run_, place_[i], element_);
    } else {
      fetch_elements(values);
    }
    // A division less a step where embeddings are not smaller than steps.
    for (element_ += S::kStep; element_ >= run_.dim; element_ -= run_.dim) ++position_;
#pragma unroll
    for (int i = 0; i < Share::kLoads; ++i) place_[i] = look(i);
  }

 private:
  __device__ __forceinline__ void fetch_elements(Pack<float> (&values)[Share::kLoads]) {
    const int k = position_ * run_.dim + element_;
#pragma unroll
    for (int i = 0; i < Share::kLoads; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
        values[i].value[j] = k + j < run_.columns ? tile_element(run_, row_[i], k + j) : 0.0f;
  }

  __device__ __forceinline__ uint32_t look(int i) const {
    return position_ < row_[i].length ? run_.inverse[row_[i].begin + position_] : kNowhere;
  }

  const std::conditional_t<S::kWide, Run, const Run&> run_;  // in registers, where there is room
  int position_, element_;
  TileRow row_[Share::kLoads];
  uint32_t place_[Share::kLoads];
};

// Loads rows of the batch as k, a tile's columns as lines. A row's segment is read two steps before
// its embeddings, where they are one step before.
template <class S, int lines>
class GatherAcross : public AcrossLines<S, lines> {
  using Share = AcrossLines<S, lines>;

 public:
  __device__ __forceinline__ GatherAcross(const Run& run, int first_line, int k, int end)
      : run_(run),
        k_(k),
        end_(end),
        line_(first_line + Share::line()),
        position_(line_ / run.dim),
        element_(line_ % run.dim) {
    if (!S::kWide && !run.wide) return;
    look_up_segments(0);
    look_up_places();
    look_up_segments(S::kStep);
  }

  __device__ __forceinline__ void fetch(Pack<float> (&values)[Share::kLoads]) {
    if (S::kWide || run_.wide) fetch_wide(values);
    else fetch_elements(values);
    k_ += S::kStep;
  }

 private:
  __device__ __forceinline__ void fetch_wide(Pack<float> (&values)[Share::kLoads]) {
#pragma unroll
    for (int i = 0; i < Share::kLoads; ++i) values[i] = embedding_quad(run_, place_[i], element_);
    look_up_places();
    look_up_segments(2 * S::kStep);
  }

  __device__ __forceinline__ void fetch_elements(Pack<float> (&values)[Share::kLoads]) {
#pragma unroll
    for (int i = 0; i < Share::kLoads; ++i) {
      const int k = k_ + Share::k(i);
      const TileRow row = k < end_ ? tile_row(run_, k) : TileRow{0, 0};
#pragma unroll
      for (int j = 0; j < 4; ++j)
        values[i].value[j] = line_ + j < run_.columns ? tile_element(run_, row, line_ + j) : 0.0f;
    }
  }

  __device__ __forceinline__ void look_up_segments(int ahead) {
#pragma unroll
    for (int i = 0; i < Share::kLoads; ++i) {
      const int k = k_ + ahead + Share::k(i);
      row_[i] = k < end_ ? tile_row(run_, k) : TileRow{0, 0};
    }
  }

  __device__ __forceinline__ void look_up_places() {
#pragma unroll
    for (int i = 0; i < Share::kLoads; ++i)
      place_[i] = position_ < row_[i].length ? run_.inverse[row_[i].begin + position_] : kNowhere;
  }

  const std::conditional_t<S::kWide, Run, const Run&> run_;  // in registers, where there is room
  int k_, end_, line_, position_, element_;
  TileRow row_[Share::kLoads];
  uint32_t place_[Share::kLoads];
};

// y = X W^T + b. Chunks of k are counted run by run.
struct TileForward {
  Runs runs;
  const float* weight;  // [outputs, inputs]
  int64_t inputs;
  int batch, outputs;
  Output out;

  int64_t rows() const { return batch; }
  int64_t columns() const { return outputs; }
  bool wide() const { return runs.wide(); }
  __host__ __device__ static int chunks_of(const Run& run) { return (run.columns + kChunk - 1) / kChunk; }
  __host__ __device__ int chunks() const {
    int count = 0;
    for (int i = 0; i < runs.count; ++i) count += chunks_of(runs.run[i]);
    return count;
  }
  int64_t tiles(int rows, int columns) const {
    return int64_t((batch + rows - 1) / rows) * ((outputs + columns - 1) / columns);
  }

  template <class S>
  __device__ __forceinline__ TilePlace place(unsigned tile) const {
    const unsigned row_tiles = (batch + S::kRows - 1) / S::kRows;
    return {int(tile % row_tiles * S::kRows), int(tile / row_tiles * S::kColumns), 0};
  }

  template <class S>
  __device__ __forceinline__ void add(const TilePlace& place, int begin, int end, InnerProduct<S>& sum,
                                      Tiles<S>& tiles) const {
    // begin and end are from the run's first chunk on.
    for (int i = 0; i < runs.count && end > 0; ++i) {
      const Run& run = runs.run[i];
      const int first = max(begin, 0) * kChunk, last = min(end * kChunk, run.columns);
      begin -= chunks_of(run);
      end -= chunks_of(run);
      if (first >= last) continue;
      const int steps = (last - first + S::kStep - 1) / S::kStep;
      const Matrix columns{weight + run.first_column, inputs, outputs, run.wide_weight};
      const LoadAlong<S, S::kColumns> b(columns, place.column, first, last);
      if (run.tile) {
        accumulate(sum, GatherAlong<S, S::kRows>(run, batch, place.row, first), b, steps, tiles);
      } else {
        const Matrix x{run.x, run.columns, batch, run.wide};
        accumulate(sum, LoadAlong<S, S::kRows>(x, place.row, first, last), b, steps, tiles);
      }
    }
  }

  __device__ __forceinline__ void store(const TilePlace& place, int row, int column, Pack<float> values) const {
    const int r = place.row + row, c = place.column + column;
    if (r < batch && c < outputs) out.store(r, c, outputs - c, values);
  }
};

// d_weight = d_y^T X. Tiles of the result are counted run by run.
struct TileWeight {
  Runs runs;
  Matrix d_y;  // [batch, outputs]
  int batch;
  float* d_weight;  // [outputs, inputs]
  int64_t inputs;
  bool keep;  // add to what is there

  int64_t rows() const { return d_y.lines; }
  int64_t columns() const {
    int widest = 0;
    for (int i = 0; i < runs.count; ++i) widest = std::max(widest, runs.run[i].columns);
    return widest;
  }
  bool wide() const { return d_y.wide && runs.wide(); }
  __host__ __device__ int chunks() const { return (batch + kChunk - 1) / kChunk; }
  __host__ __device__ static unsigned tiles_of(const Run& run, unsigned row_tiles, int columns) {
    return unsigned((run.columns + columns - 1) / columns) * row_tiles;
  }
  int64_t tiles(int rows, int columns) const {
    int64_t count = 0;
    for (int i = 0; i < runs.count; ++i) count += tiles_of(runs.run[i], (d_y.lines + rows - 1) / rows, columns);
    return count;
  }

  template <class S>
  __device__ __forceinline__ TilePlace place(unsigned tile) const {
    const unsigned row_tiles = (d_y.lines + S::kRows - 1) / S::kRows;
    int run = 0;
    for (unsigned count; tile >= (count = tiles_of(runs.run[run], row_tiles, S::kColumns)); ++run) tile -= count;
    return {int(tile % row_tiles * S::kRows), int(tile / row_tiles * S::kColumns), run};
  }

  template <class S>
  __device__ __forceinline__ void add(const TilePlace& place, int begin, int end, InnerProduct<S>& sum,
                                      Tiles<S>& tiles) const {
    const Run& run = runs.run[place.part];
    const int first = begin * kChunk, last = min(end * kChunk, batch);
    const int steps = (last - first + S::kStep - 1) / S::kStep;
    const LoadAcross<S, S::kRows> a(d_y, place.row, first, last);
    if (run.tile) {
      accumulate(sum, a, GatherAcross<S, S::kColumns>(run, place.column, first, last), steps, tiles);
    } else {
      const Matrix x{run.x, run.columns, run.columns, run.wide};
      accumulate(sum, a, LoadAcross<S, S::kColumns>(x, place.column, first, last), steps, tiles);
    }
  }

  __device__ __forceinline__ void store(const TilePlace& place, int row, int column, Pack<float> values) const {
    const Run& run = runs.run[place.part];
    const int r = place.row + row, c = place.column + column;
    if (r >= d_y.lines || c >= run.columns) return;
    const Output out{d_weight + run.first_column, inputs, nullptr, keep, run.wide_weight};
    out.store(r, c, run.columns - c, values);
  }
};

}  // namespace recis
