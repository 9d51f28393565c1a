// What the operations on stored rows check of their storage.
#pragma once

#include "common.cuh"

namespace recis {

inline int require_rows(const recis_rows* storage, const char* op) {
  if (int status = require(storage, op, "storage", "is null")) return status;
  return first_of(require(storage->bound >= 0 && storage->bound <= RECIS_NO_ROW, op, "bound",
                          "is negative or above RECIS_NO_ROW"),
                  require(storage->dim > 0, op, "dim", "is below 1"),
                  require(storage->dim > 0 && storage->stride > 0 && storage->stride % storage->dim == 0, op,
                          "stride", "is not a multiple of dim"),
                  require_array(storage->storage, storage->bound, op, "storage"));
}

// The rows of a call, and one array of `dim` floats for each.
inline int require_row_arrays(const uint32_t* rows, const float* values, int64_t capacity,
                              const uint32_t* count, const char* op, const char* values_name) {
  return first_of(require_array(rows, capacity, op, "rows"), require_array(values, capacity, op, values_name),
                  require_array(count, 0, op, "count"));
}

}  // namespace recis
