// A feature's ids after their lookup: what launchers check of them, and how kernels read them.
#pragma once

#include "lanes.cuh"

namespace recis {

inline int require_lookup(const recis_lookup* lookup, const char* op) {
  if (int status = require(lookup, op, "lookup", "is null")) return status;
  const recis_lookup& l = *lookup;
  return first_of(require(l.dim > 0, op, "dim", "is below 1"), require(l.first_id >= 0, op, "first_id", "is negative"),
                  require_array(l.embeddings, l.unique, op, "embeddings"),
                  require_array(l.inverse, l.capacity, op, "inverse"),
                  require(l.first_id < INT32_MAX - l.capacity, op, "capacity", "is too large"),
                  require(l.segments >= 0 && l.segments < INT32_MAX, op, "segments", "is negative or too large"),
                  require_array(l.offsets, 1, op, "offsets"));
}

// Also that the lookup, which must be valid, lies within the positions.
inline int require_occurrences(const recis_occurrences* occurrences, const recis_lookup& lookup, const char* op) {
  if (int status = require(occurrences, op, "occurrences", "is null")) return status;
  const recis_occurrences& o = *occurrences;
  return first_of(require(o.total >= lookup.first_id + lookup.capacity && o.total < INT32_MAX, op, "total",
                          "is below first_id + capacity or too large"),
                  require(o.table < 4096, op, "table", "is 4096 or more"),
                  require_array(o.positions, o.total, op, "positions"), require_array(o.starts, 1, op, "starts"),
                  require_array(o.table_offsets, 1, op, "table_offsets"));
}

// `width` columns of a matrix [rows, stride], from first_column.
inline int require_columns(const float* matrix, int64_t rows, int64_t first_column, int64_t width, int64_t stride,
                           const char* op, const char* matrix_name) {
  return first_of(require(first_column >= 0, op, "first_column", "is negative"),
                  require(stride >= width && first_column <= stride - width, op, "out_stride",
                          "is below what the columns need"),
                  require_array(matrix, rows, op, matrix_name));
}

// Whether such columns, of `dim` each, can be moved four at a time.
inline bool columns_are_wide(int64_t dim, int64_t first_column, int64_t stride) {
  return dim % 4 == 0 && first_column % 4 == 0 && stride % 4 == 0;
}

// How many ids the feature has.
__device__ __forceinline__ int64_t ids_there(const recis_lookup& lookup) {
  const int64_t last = lookup.offsets[lookup.segments];
  return last < 0 ? 0 : last < lookup.capacity ? last : lookup.capacity;
}

// The segment of an id: the last one that begins at or before it.
__device__ __forceinline__ int64_t segment_at(const recis_lookup& lookup, int64_t id) {
  int64_t low = 0, high = lookup.segments;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (lookup.offsets[middle] <= id ? low : high) = middle;
  }
  return low;
}

// Columns of an embedding; zeros if there is no such place.
template <int width>
__device__ __forceinline__ Floats<width> embedding(const recis_lookup& lookup, uint32_t place, int64_t column) {
  return place < lookup.unique ? load_floats<width>(lookup.embeddings + place * lookup.dim + column)
                               : Floats<width>{};
}

}  // namespace recis
