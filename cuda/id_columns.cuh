// Which id a position of a batch holds, and of which table.
#pragma once

#include "packed_ids.cuh"

namespace recis {

// Columns of one launch: as many as fit into a kernel's parameters.
constexpr int kColumns = 64;
struct Columns {
  recis_ids_column column[kColumns];  // not empty, by ascending first
  int count;
};

// The same in shared memory, with what each holds.
struct ColumnsHere {
  const int64_t* ids[kColumns];
  uint32_t first[kColumns], capacity[kColumns], used[kColumns], table[kColumns];
  int count;

  // To be called by all threads of a block, before a barrier.
  __device__ void set(const Columns& columns) {
    if (threadIdx.x == 0) count = columns.count;
    if (threadIdx.x >= unsigned(columns.count)) return;
    const recis_ids_column& column = columns.column[threadIdx.x];
    const int64_t end = column.offsets ? column.offsets[column.rows] : column.capacity;
    ids[threadIdx.x] = column.ids;
    first[threadIdx.x] = uint32_t(column.first);
    capacity[threadIdx.x] = uint32_t(column.capacity);
    used[threadIdx.x] = uint32_t(max(int64_t(0), min(end, column.capacity)));
    table[threadIdx.x] = column.table;
  }

  // The last column that begins at or before a position; the first one if none does. There is one at least.
  __device__ int column_of(uint32_t position) const {
    int low = 0, high = count - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (first[middle] <= position) low = middle;
      else high = middle - 1;
    }
    return low;
  }
  __device__ bool covers(uint32_t position) const {
    if (count == 0) return false;
    const int column = column_of(position);
    return position - first[column] < capacity[column];
  }
  // The key of a position: of `no_table` if it holds no id.
  __device__ Key key(uint32_t position, uint32_t no_table) const {
    if (count == 0) return {0, no_table};
    const int column = column_of(position);
    const uint32_t i = position - first[column];
    if (i >= used[column]) return {0, no_table};
    return {rotated(__ldg(ids[column] + i)), table[column]};
  }
};

// The keys of positions, from their columns.
struct FromColumns {
  Columns columns;
  uint32_t no_table;
  using Here = ColumnsHere;
  __device__ void set(Here& here) const { here.set(columns); }
  __device__ Key key(const Here& here, uint32_t position) const { return here.key(position, no_table); }
};

// The same from an array, for more columns than a launch takes.
struct FromArray {
  const uint32_t* words[kMaxWords];
  uint32_t no_table;
  struct Here {};
  __device__ void set(Here&) const {}
  __device__ Key key(const Here&, uint32_t i) const {
    return {uint64_t(words[1][i]) << 32 | words[0][i], words[2][i]};
  }
};

}  // namespace recis
