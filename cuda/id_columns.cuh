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
  // The column of both, or -1.
  __device__ int column_of_both(uint32_t first_position, uint32_t last_position) const {
    if (count == 0) return -1;
    const int column = column_of(first_position);
    return column == column_of(last_position) ? column : -1;
  }
  __device__ bool covers(uint32_t position) const {
    if (count == 0) return false;
    const int column = column_of(position);
    return position - first[column] < capacity[column];
  }
  // The key of a position: of `no_table` if it holds no id.
  __device__ Key key(uint32_t position, uint32_t no_table) const {
    if (count == 0) return {0, no_table};
    return key_in(column_of(position), position, no_table);
  }
  __device__ Key key_in(int column, uint32_t position, uint32_t no_table) const {
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

  // The same for positions side by side. Most lie in one column: that is looked for once.
  class Some {
   public:
    __device__ Some(const FromColumns& from, const Here& here, uint32_t first, uint32_t last)
        : here_(here), no_table_(from.no_table), column_(here.column_of_both(first, last)) {}
    __device__ Key key(uint32_t position) const {
      return column_ >= 0 ? here_.key_in(column_, position, no_table_) : here_.key(position, no_table_);
    }

   private:
    const Here& here_;
    uint32_t no_table_;
    int column_;
  };
};

// The same from an array, for more columns than a launch takes.
struct FromArray {
  const uint64_t* ids;  // as a Key has them
  const uint32_t* tables;
  uint32_t no_table;
  struct Here {};
  __device__ void set(Here&) const {}
  __device__ Key key(const Here&, uint32_t i) const { return {ids[i], tables[i]}; }
  struct Some {
    const FromArray& from;
    __device__ Some(const FromArray& from, const Here&, uint32_t, uint32_t) : from(from) {}
    __device__ Key key(uint32_t i) const { return from.key(Here(), i); }
  };
};

}  // namespace recis
