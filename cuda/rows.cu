// Rows in and out of their storage, and their first values.
#include "lanes.cuh"
#include "philox.cuh"
#include "quantile.cuh"
#include "rows.cuh"

namespace recis {
namespace {

template <int width>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(recis_rows storage, int64_t slot, const uint32_t* rows, int64_t capacity,
                  const uint32_t* count, int shift, float* out) {
  wait_for_stream();
  const int64_t rows_there = bounded(count, capacity);
  for (int64_t i = grid_thread() >> shift; i < rows_there; i += grid_threads() >> shift) {
    const uint32_t row = rows[i];
    const float* from = storage.storage + row * storage.stride + slot * storage.dim;
    for (int64_t c = lane_column<width>(shift); c < storage.dim; c += int64_t(width) << shift)
      store_floats<width>(out + i * storage.dim + c,
                          row < storage.bound ? load_floats<width>(from + c) : Floats<width>{});
  }
}

template <int width>
__global__ void __launch_bounds__(kThreads)
    scatter_kernel(recis_rows storage, int64_t slot, const uint32_t* rows, int64_t capacity,
                   const uint32_t* count, int shift, const float* values) {
  wait_for_stream();
  const int64_t rows_there = bounded(count, capacity);
  for (int64_t i = grid_thread() >> shift; i < rows_there; i += grid_threads() >> shift) {
    const uint32_t row = rows[i];
    if (row >= storage.bound) continue;
    float* to = storage.storage + row * storage.stride + slot * storage.dim;
    for (int64_t c = lane_column<width>(shift); c < storage.dim; c += int64_t(width) << shift)
      store_floats<width>(to + c, load_floats<width>(values + i * storage.dim + c));
  }
}

// The ids of the new rows, and the keys of their tables.
struct NewRows {
  const uint64_t* keys;
  const int64_t* ids;
  const uint32_t* rows;
  int64_t id_capacity;
  const uint32_t* table_offsets;
  int64_t tables;
  const uint32_t* places;
};

// A lane fills four columns from one block of random words; `width` is of the stores.
template <int width>
__global__ void __launch_bounds__(kThreads)
    initialize_kernel(recis_rows storage, Quantile quantile, NewRows news, int64_t capacity,
                      const uint32_t* count, int shift) {
  wait_for_stream();
  const int64_t news_there = bounded(count, capacity);
  const int64_t ids_there = bounded(news.table_offsets + news.tables, news.id_capacity);
  const int64_t lane = lane_column<1>(shift);
  for (int64_t j = grid_thread() >> shift; j < news_there; j += grid_threads() >> shift) {
    const uint32_t place = news.places[j];
    if (place >= ids_there) continue;
    const uint32_t row = news.rows[place];
    if (row >= storage.bound) continue;
    const uint64_t key = news.keys[range_of(news.table_offsets, news.tables, place)];
    const uint64_t id = uint64_t(news.ids[place]);
    float* to = storage.storage + row * storage.stride;
    for (int64_t c = 4 * lane; c < storage.dim; c += int64_t(4) << shift) {
      const Words words = philox({{uint32_t(id), uint32_t(id >> 32), uint32_t(c / 4), 0}}, key);
      Floats<4> values;
#pragma unroll
      for (int k = 0; k < 4; ++k) values.value[k] = quantile(words.word[k]);
      if constexpr (width == 4) {
        store_floats<4>(to + c, values);
      } else {
#pragma unroll
        for (int k = 0; k < 4; ++k)
          if (c + k < storage.dim) to[c + k] = values.value[k];
      }
    }
    for (int64_t c = storage.dim + lane * width; c < storage.stride; c += int64_t(width) << shift)
      store_floats<width>(to + c, Floats<width>{});
  }
}

int require_slot(const recis_rows* storage, int64_t slot, const char* op) {
  if (int status = require_rows(storage, op)) return status;
  return require(slot >= 0 && slot < storage->stride / storage->dim, op, "slot", "is not one of the row's");
}

}  // namespace
}  // namespace recis

extern "C" int recis_rows_gather(const recis_rows* storage, int64_t slot, const uint32_t* rows,
                                 int64_t capacity, const uint32_t* count, float* out, recis_stream_t stream) {
  using namespace recis;
  const char* op = "rows.gather";
  if (int status = first_of(require_slot(storage, slot, op),
                            require_row_arrays(rows, out, capacity, count, op, "out")))
    return status;
  if (capacity == 0) return RECIS_OK;
  const bool wide = storage->dim % 4 == 0;
  const int shift = group_shift(storage->dim, wide ? 4 : 1);
  return launch(op, wide ? gather_kernel<4> : gather_kernel<1>, blocks_for(capacity << shift), kThreads, 0,
                stream, *storage, slot, rows, capacity, count, shift, out);
}

extern "C" int recis_rows_scatter(const recis_rows* storage, int64_t slot, const uint32_t* rows,
                                  int64_t capacity, const uint32_t* count, const float* values,
                                  recis_stream_t stream) {
  using namespace recis;
  const char* op = "rows.scatter";
  if (int status = first_of(require_slot(storage, slot, op),
                            require_row_arrays(rows, values, capacity, count, op, "values")))
    return status;
  if (capacity == 0) return RECIS_OK;
  const bool wide = storage->dim % 4 == 0;
  const int shift = group_shift(storage->dim, wide ? 4 : 1);
  return launch(op, wide ? scatter_kernel<4> : scatter_kernel<1>, blocks_for(capacity << shift), kThreads, 0,
                stream, *storage, slot, rows, capacity, count, shift, values);
}

extern "C" int recis_rows_initialize(const recis_rows* storage, const recis_initializer* initializer,
                                     const uint64_t* keys, const int64_t* ids, const uint32_t* rows,
                                     int64_t id_capacity, const uint32_t* table_offsets, int64_t tables,
                                     const uint32_t* places, int64_t capacity, const uint32_t* count,
                                     recis_stream_t stream) {
  using namespace recis;
  const char* op = "rows.initialize";
  if (int status = first_of(require_rows(storage, op), require(initializer, op, "initializer", "is null"),
                            require(tables > 0, op, "tables", "is below 1"),
                            require_array(keys, tables, op, "keys"),
                            require_array(table_offsets, 1, op, "table_offsets"),
                            require_array(ids, id_capacity, op, "ids"),
                            require_array(rows, id_capacity, op, "rows"),
                            require_array(places, capacity, op, "places"),
                            require_array(count, 0, op, "count")))
    return status;
  const auto distribution = initializer->distribution;
  if (int status = require(distribution >= RECIS_CONSTANT && distribution <= RECIS_TRUNC_NORMAL, op,
                           "distribution", "is unknown"))
    return status;
  if (capacity == 0 || id_capacity == 0) return RECIS_OK;
  const bool wide = storage->dim % 4 == 0;
  const int shift = group_shift(storage->dim, 4);
  const NewRows news{keys, ids, rows, id_capacity, table_offsets, tables, places};
  const unsigned blocks = blocks_for(capacity << shift);
  return launch(op, wide ? initialize_kernel<4> : initialize_kernel<1>, blocks, kThreads, 0, stream, *storage,
                Quantile{*initializer}, news, capacity, count, shift);
}
