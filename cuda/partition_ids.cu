// The distinct ids of several columns, the positions of each, and who owns them.
#include "device_wide.cuh"
#include "murmur.cuh"

#include <algorithm>
#include <bit>

namespace recis {
namespace {

// An id's place in RecIS's order as a number, and back: the low 16 bits count most.
__device__ __forceinline__ uint64_t key_of(int64_t id) { return uint64_t(id) << 48 | uint64_t(id) >> 16; }
__device__ __forceinline__ int64_t id_of(uint64_t key) { return int64_t(key << 16 | key >> 48); }

// Columns of one launch: as many as fit into a kernel's parameters.
constexpr int kColumns = 64;
struct Columns {
  recis_ids_column column[kColumns];  // by ascending first
  int count;
};

// The last column that begins at or before a position; the first one if none does.
__device__ __forceinline__ int column_of(const Columns& columns, int64_t position) {
  int first = 0, last = columns.count - 1;
  while (first < last) {
    const int middle = (first + last + 1) / 2;
    if (columns.column[middle].first <= position) first = middle;
    else last = middle - 1;
  }
  return first;
}

// The arrays between the kernels, [total] each.
struct Scratch {
  // By position: the number of the position, the key of its id, and the id's table. Positions that
  // hold no id have the table `tables`, which sorts last.
  uint32_t* numbers;
  uint64_t* keys;
  uint16_t* tables;
  // Ordered by key.
  uint64_t* sorted_keys;
  uint32_t *positions, *unsorted_tables;
  // Ordered by table, then key: the place in the order by key, and how many distinct ids there are so
  // far.
  uint32_t *sorted_tables, *by_key, *places;
  void* memory;
  size_t memory_bytes;
};

// The key and table of every position that a column covers; the first of several launches also writes
// those of all others.
__global__ void __launch_bounds__(kThreads)
    keys_kernel(Columns columns, uint16_t tables, int64_t total, bool first, Scratch scratch) {
  for (int64_t position = grid_thread(); position < total; position += grid_threads()) {
    if (first) scratch.numbers[position] = uint32_t(position);
    uint64_t key = 0;
    uint16_t table = tables;
    bool covered = false;
    if (columns.count > 0) {
      const recis_ids_column& column = columns.column[column_of(columns, position)];
      const int64_t i = position - column.first;
      covered = i >= 0 && i < column.capacity;
      if (covered && (!column.offsets || i < column.offsets[column.rows])) {
        key = key_of(column.ids[i]);
        table = uint16_t(column.table);
      }
    }
    if (!covered && !first) continue;
    scratch.keys[position] = key;
    scratch.tables[position] = table;
  }
}

__global__ void __launch_bounds__(kThreads) tables_kernel(int64_t total, Scratch scratch) {
  for (int64_t i = grid_thread(); i < total; i += grid_threads())
    scratch.unsorted_tables[i] = scratch.tables[scratch.positions[i]];
}

// What is at place i of the order by table, then key.
struct Sorted {
  Scratch scratch;
  bool by_key_alone;  // there is one table, and every position holds an id
  __device__ uint32_t table(int64_t i) const { return by_key_alone ? 0 : scratch.sorted_tables[i]; }
  __device__ uint32_t by_key(int64_t i) const { return by_key_alone ? uint32_t(i) : scratch.by_key[i]; }
  __device__ uint64_t key(int64_t i) const { return scratch.sorted_keys[by_key(i)]; }
};

// 1 where another id than before begins, 0 elsewhere.
__global__ void __launch_bounds__(kThreads) heads_kernel(Sorted sorted, uint32_t tables, int64_t total) {
  for (int64_t i = grid_thread(); i < total; i += grid_threads()) {
    const uint32_t table = sorted.table(i);
    const bool head = i == 0 || table != sorted.table(i - 1) || sorted.key(i) != sorted.key(i - 1);
    sorted.scratch.places[i] = table < tables && head;
  }
}

__global__ void __launch_bounds__(kThreads)
    results_kernel(Sorted sorted, uint32_t tables, int64_t total, int64_t* ids, uint32_t* table_offsets,
                   uint32_t* inverse, uint32_t* positions, uint32_t* starts) {
  const uint32_t* places = sorted.scratch.places;
  for (int64_t i = grid_thread(); i < total && sorted.table(i) < tables; i += grid_threads()) {
    const uint32_t by_key = sorted.by_key(i), position = sorted.scratch.positions[by_key];
    const uint32_t place = places[i] - 1;
    inverse[position] = place;
    positions[i] = position;
    if (i > 0 && places[i - 1] == places[i]) continue;
    ids[place] = id_of(sorted.key(i));
    starts[place] = uint32_t(i);
  }
  for (int64_t table = grid_thread(); table <= tables; table += grid_threads()) {
    // The first place of a table at or above this one: after all, that of what holds no id.
    int64_t first = 0, last = total;
    while (first < last) {
      const int64_t middle = (first + last) / 2;
      if (sorted.table(middle) < table) first = middle + 1;
      else last = middle;
    }
    const uint32_t distinct = first > 0 ? places[first - 1] : 0;
    table_offsets[table] = distinct;
    if (table == tables) starts[distinct] = uint32_t(first);
  }
}

Scratch take(Workspace& workspace, int64_t total) {
  Scratch scratch;
  scratch.numbers = workspace.take<uint32_t>(total);
  scratch.keys = workspace.take<uint64_t>(total);
  scratch.tables = workspace.take<uint16_t>(total);
  scratch.sorted_keys = workspace.take<uint64_t>(total);
  scratch.positions = workspace.take<uint32_t>(total);
  scratch.unsorted_tables = workspace.take<uint32_t>(total);
  scratch.sorted_tables = workspace.take<uint32_t>(total);
  scratch.by_key = workspace.take<uint32_t>(total);
  scratch.places = scratch.unsorted_tables;  // not needed any more by then
  scratch.memory_bytes = std::max({sort_pairs_bytes(total, 8), sort_pairs_bytes(total, 4), sum_bytes(total)});
  scratch.memory = workspace.take<char>(int64_t(scratch.memory_bytes));
  return scratch;
}

int require_sizes(int64_t total, int64_t tables, const char* op) {
  return first_of(require(total >= 0 && total <= INT32_MAX, op, "total", "is not within 0..2^31"),
                  require(tables >= 1 && tables <= 4096, op, "tables", "is not within 1..=4096"));
}

int require_column(const recis_ids_column& column, int64_t tables, int64_t total, const char* op) {
  return first_of(
      require_array(column.ids, column.capacity, op, "a column's ids"),
      require_array(column.offsets, 0, op, "a column's offsets"),
      require(!column.offsets || column.rows >= 0, op, "a column", "has a negative number of rows"),
      require(column.first >= 0 && column.first <= total - column.capacity, op, "a column", "exceeds total"),
      require(column.table < tables, op, "a column's table", "is not below tables"));
}

// A launch for every kColumns columns, and at least one.
int write_keys(const char* op, const recis_ids_column* columns, int64_t column_count, int64_t tables,
               int64_t total, const Scratch& scratch, recis_stream_t stream) {
  int64_t next = 0;
  do {
    const bool first = next == 0;
    Columns some = {};
    // Without empty columns: they could begin between another's ends, and hide it.
    for (; next < column_count && some.count < kColumns; ++next)
      if (columns[next].capacity > 0) some.column[some.count++] = columns[next];
    std::sort(some.column, some.column + some.count, [](auto& a, auto& b) { return a.first < b.first; });
    if (int status = launch(op, keys_kernel, blocks_for(total), kThreads, 0, stream, some, uint16_t(tables),
                            total, first, scratch))
      return status;
  } while (next < column_count);
  return RECIS_OK;
}

int sort_ids(const char* op, const Sorted& sorted, int64_t tables, int64_t total, recis_stream_t stream) {
  const Scratch& s = sorted.scratch;
  if (int status = sort_pairs(op, s.keys, s.sorted_keys, s.numbers, s.positions, total, 64, s.memory,
                              s.memory_bytes, stream))
    return status;
  if (sorted.by_key_alone) return RECIS_OK;
  if (int status = launch(op, tables_kernel, blocks_for(total), kThreads, 0, stream, total, s)) return status;
  const int bits = int(std::bit_width(uint64_t(tables)));  // up to and with `tables`
  return sort_pairs(op, s.unsorted_tables, s.sorted_tables, s.numbers, s.by_key, total, bits, s.memory,
                    s.memory_bytes, stream);
}

int count_distinct(const char* op, const Sorted& sorted, int64_t tables, int64_t total,
                   recis_stream_t stream) {
  const Scratch& s = sorted.scratch;
  if (int status = launch(op, heads_kernel, blocks_for(total), kThreads, 0, stream, sorted, uint32_t(tables),
                          total))
    return status;
  return inclusive_sum(op, s.places, s.places, total, s.memory, s.memory_bytes, stream);
}

__global__ void __launch_bounds__(kThreads) zero_kernel(uint32_t* counts, int32_t world_size) {
  for (int64_t i = grid_thread(); i < world_size; i += grid_threads()) counts[i] = 0;
}

// RecIS's: the first `rest` of the slices of the 2^16 residues have one more than `slice`.
struct Slices {
  int32_t slice, rest;
  __device__ uint32_t operator()(int64_t id) const {
    const int32_t residue = int32_t(id & 0xffff);
    return uint32_t(max(residue / (slice + 1), (residue - rest) / slice));
  }
};

struct Balanced {
  uint32_t world_size;
  __device__ uint32_t operator()(int64_t id) const { return uint32_t((murmur(id) >> 32) * world_size >> 32); }
};

// Ranks that a block counts in shared memory, before it adds to the counts of all.
constexpr int32_t kCounted = 1024;

template <class Owner>
__global__ void __launch_bounds__(kThreads)
    owner_kernel(const int64_t* ids, int64_t capacity, const uint32_t* count, Owner owner, int32_t world_size,
                 uint32_t* owners, uint32_t* counts) {
  __shared__ uint32_t counted[kCounted];
  const bool few = world_size <= kCounted;
  if (few)
    for (int32_t rank = int32_t(threadIdx.x); rank < world_size; rank += kThreads) counted[rank] = 0;
  __syncthreads();
  const int64_t here = bounded(count, capacity);
  for (int64_t i = grid_thread(); i < here; i += grid_threads()) {
    const uint32_t rank = owner(ids[i]);
    owners[i] = rank;
    if (few) atomicAdd(&counted[rank], 1u);
    else atomicAdd(&counts[rank], 1u);
  }
  __syncthreads();
  if (few)
    for (int32_t rank = int32_t(threadIdx.x); rank < world_size; rank += kThreads)
      if (counted[rank] > 0) atomicAdd(&counts[rank], counted[rank]);
}

}  // namespace
}  // namespace recis

extern "C" int recis_partition_ids_workspace_size(int64_t total, int64_t tables, size_t* bytes) {
  using namespace recis;
  const char* op = "partition_ids.workspace_size";
  if (int status = first_of(require_sizes(total, tables, op), require(bytes, op, "bytes", "is null")))
    return status;
  if (int status = require_device(op)) return status;
  Workspace needed;
  take(needed, total);
  *bytes = needed.bytes();
  return RECIS_OK;
}

extern "C" int recis_partition_ids_forward(const recis_ids_column* columns, int64_t column_count,
                                           int64_t tables, int64_t total, int64_t* ids,
                                           uint32_t* table_offsets, uint32_t* inverse, uint32_t* positions,
                                           uint32_t* starts, void* workspace, size_t workspace_bytes,
                                           recis_stream_t stream) {
  using namespace recis;
  const char* op = "partition_ids.forward";
  if (int status = first_of(
          require_sizes(total, tables, op), require(column_count >= 0, op, "column_count", "is negative"),
          require(columns || column_count <= 0, op, "columns", "is null"),
          require_array(ids, total, op, "ids"), require_array(table_offsets, 1, op, "table_offsets"),
          require_array(inverse, total, op, "inverse"), require_array(positions, total, op, "positions"),
          require_array(starts, 1, op, "starts")))
    return status;
  int64_t covered = 0;
  bool full = true;
  for (const recis_ids_column* column = columns; column != columns + column_count; ++column) {
    if (int status = require_column(*column, tables, total, op)) return status;
    covered += column->capacity;
    full = full && !column->offsets;
  }
  Workspace needed, memory(workspace);
  take(needed, total);
  if (int status = require_workspace(workspace, workspace_bytes, needed.bytes(), op)) return status;

  const Sorted sorted{take(memory, total), tables == 1 && full && covered == total};
  if (total > 0) {
    int status = write_keys(op, columns, column_count, tables, total, sorted.scratch, stream);
    if (status == RECIS_OK) status = sort_ids(op, sorted, tables, total, stream);
    if (status == RECIS_OK) status = count_distinct(op, sorted, tables, total, stream);
    if (status != RECIS_OK) return status;
  }
  return launch(op, results_kernel, blocks_for(max(total, tables + 1)), kThreads, 0, stream, sorted,
                uint32_t(tables), total, ids, table_offsets, inverse, positions, starts);
}

extern "C" int recis_partition_ids_owner(const int64_t* ids, int64_t capacity, const uint32_t* count,
                                         int32_t world_size, recis_owner owner, uint32_t* owners,
                                         uint32_t* counts, recis_stream_t stream) {
  using namespace recis;
  const char* op = "partition_ids.owner";
  if (int status = first_of(
          require(world_size >= 1 && world_size <= 65536, op, "world_size", "is not within 1..=65536"),
          require(owner == RECIS_OWNER_SLICES || owner == RECIS_OWNER_BALANCED, op, "owner", "is unknown"),
          require_array(ids, capacity, op, "ids"), require_array(count, 0, op, "count"),
          require_array(owners, capacity, op, "owners"), require_array(counts, 1, op, "counts")))
    return status;
  if (int status = launch(op, zero_kernel, blocks_for(world_size), kThreads, 0, stream, counts, world_size))
    return status;
  if (capacity == 0) return RECIS_OK;
  const unsigned blocks = blocks_for(capacity);
  if (owner == RECIS_OWNER_BALANCED)
    return launch(op, owner_kernel<Balanced>, blocks, kThreads, 0, stream, ids, capacity, count,
                  Balanced{uint32_t(world_size)}, world_size, owners, counts);
  return launch(op, owner_kernel<Slices>, blocks, kThreads, 0, stream, ids, capacity, count,
                Slices{65536 / world_size, 65536 % world_size}, world_size, owners, counts);
}
