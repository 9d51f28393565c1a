// Kernels and launchers of the hash table; hash_table.cuh says how it works.
#include "hash_table.cuh"
#include "memory.cuh"

#include <new>

struct recis_hash_table {
  recis::Table* table;      // device memory
  recis::Storage storage;   // the table's, as reserve left it
  bool may_have_erased;     // since it moved to this storage
  bool has_captured_erase;  // replays of a graph erase without a call
};

namespace recis {
namespace {

__global__ void __launch_bounds__(kThreads) clear_kernel(Storage storage) {
  wait_for_stream();
  for (int64_t i = grid_thread(); i < storage.slot_count; i += grid_threads())
    storage.slots[i] = Slot{0, kEmpty};
}

__global__ void create_kernel(Table* table, Storage storage) {
  wait_for_stream();
  *table = Table{storage, {}, 0, 0, 0, 0};
}

// Moves ids to empty storage. They differ, so slots need no comparing, and nobody looks yet, so they
// need no claiming. The last block makes the storage the table's.
__global__ void __launch_bounds__(kThreads) reserve_kernel(Table* table, Storage to) {
  wait_for_stream();
  const Storage from = table->storage;
  const uint32_t free_count = table->free_count;
  for (int64_t i = grid_thread(); i < from.slot_count; i += grid_threads()) {
    const Slot slot = from.slots[i];
    if (!slot.is_occupied()) continue;
    Probe probe(to, {slot.id, slot.tag()});
    bool is_placed = false;
    do {
      for (int k = 0; k < kBucketSlots && !is_placed; ++k) {
        Slot* place = probe.bucket() + k;
        is_placed = atomicCAS(&place->state, kEmpty, slot.state) == kEmpty;
        if (is_placed) place->id = slot.id;
      }
    } while (!is_placed && probe.next());
  }
  for (int64_t i = grid_thread(); i < free_count; i += grid_threads())
    to.free_rows()[i] = from.free_rows()[i];
  if (!is_last_block(table, gridDim.x)) return;
  table->storage = to;
  table->counters[RECIS_TABLE_USED] = table->counters[RECIS_TABLE_SIZE];
}

__device__ __forceinline__ void copy_counters(const Table* table, int64_t* counters) {
  for (int i = 0; i < RECIS_TABLE_COUNTERS; ++i) counters[i] = int64_t(table->counters[i]);
}

__global__ void counters_kernel(const Table* table, int64_t* counters) {
  wait_for_stream();
  copy_counters(table, counters);
}

// Behind a batch's ids, rows are none.
__device__ __forceinline__ void clear_behind(uint32_t* rows, int64_t count, int64_t capacity) {
  for (int64_t i = count + grid_thread(); i < capacity; i += grid_threads()) rows[i] = RECIS_NO_ROW;
}

__global__ void __launch_bounds__(kThreads)
    find_kernel(const Table* table, const int64_t* ids, const uint32_t* table_offsets, int64_t tables,
                int64_t capacity, uint32_t* rows) {
  wait_for_stream();
  const Storage storage = table->storage;
  const int64_t count = bounded(table_offsets + tables, capacity);
  clear_behind(rows, count, capacity);
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const Found found =
        locate(storage, key_at(ids, table_offsets, tables, i), [](const Slot* slot) { return *slot; });
    rows[i] = found.slot ? uint32_t(found.state) : RECIS_NO_ROW;
  }
}

// A block's threads go along together, so that those that have claimed a slot take their tickets with one
// atomic. None waits inside a round: a thread that needs what another one writes tries again in the next, and
// what its own block has claimed is written before the one after that.
__global__ void __launch_bounds__(kThreads)
    find_or_insert_kernel(Table* table, const int64_t* ids, const uint32_t* table_offsets, int64_t tables,
                          int64_t capacity, uint32_t* rows, uint32_t* new_ids, uint32_t* new_count,
                          int64_t* counters) {
  wait_for_stream();
  const int64_t count = bounded(table_offsets + tables, capacity);
  clear_behind(rows, count, capacity);
  // There may be few keys, and room for many: other blocks are done, and are not waited for.
  const int64_t blocks_of_keys = max(int64_t(1), (count + kThreads - 1) / kThreads);
  const unsigned busy_blocks = unsigned(min(int64_t(gridDim.x), blocks_of_keys));
  if (blockIdx.x >= busy_blocks) return;
  __shared__ BlockTickets tickets[2];
  unsigned rounds = 0;
  const Storage storage = table->storage;
  const Rows new_rows(*table);
  for (int64_t first = grid_thread() - threadIdx.x; first < count; first += grid_threads()) {
    const int64_t i = first + threadIdx.x;
    const bool is_key = i < count;
    const Key key = is_key ? key_at(ids, table_offsets, tables, i) : Key{};
    Probe probe(storage, key);
    Insertion step{is_key ? Insertion::blocked : Insertion::full, nullptr, RECIS_NO_ROW};
    for (bool is_first = true, is_last = false; !is_last; is_first = false) {
      if (step.outcome == Insertion::blocked) step = find_or_claim(probe, key, is_first);
      const bool has_claimed = step.outcome == Insertion::claimed, is_blocked = step.outcome == Insertion::blocked;
      const Round round = take_block_ticket(&table->tickets, has_claimed, is_blocked, tickets[rounds++ % 2]);
      is_last = round.is_last;
      if (has_claimed) {
        step.row = new_rows.row(round.ticket);
        const bool has_row = step.row != RECIS_NO_ROW;
        store_shared(step.slot, {key.id, has_row ? state_of(key.tag, step.row) : kEmpty});
        if (has_row) new_ids[round.ticket] = uint32_t(i);
        step.outcome = has_row ? Insertion::found : Insertion::full;
      }
      if (is_blocked) pause();
    }
    if (is_key) rows[i] = step.row;
    if (is_key && step.row == RECIS_NO_ROW) atomicAdd(&table->counters[RECIS_TABLE_FAILED], 1);
  }
  if (!is_last_block(table, busy_blocks)) return;
  const uint32_t taken = min(atomicExch(&table->tickets, 0), new_rows.available());
  const uint32_t from_free = min(taken, new_rows.free_count);
  new_count[0] = taken;
  table->free_count -= from_free;
  table->counters[RECIS_TABLE_ROW_BOUND] += taken - from_free;
  table->counters[RECIS_TABLE_SIZE] += taken;
  table->counters[RECIS_TABLE_USED] += taken;
  if (counters) copy_counters(table, counters);
}

// Of threads that erase the same id, the one that changes the slot frees the row.
__global__ void __launch_bounds__(kThreads)
    erase_kernel(Table* table, const int64_t* ids, const uint32_t* table_offsets, int64_t tables,
                 int64_t capacity) {
  wait_for_stream();
  const Storage storage = table->storage;
  uint32_t* freed = storage.free_rows() + table->free_count;
  const int64_t count = bounded(table_offsets + tables, capacity);
  const int lane = threadIdx.x % 32;
  for (int64_t first = grid_thread() - lane; first < count; first += grid_threads()) {
    const int64_t i = first + lane;
    Found found{};
    if (i < count) found = locate(storage, key_at(ids, table_offsets, tables, i), [](const Slot* slot) { return load_shared(slot); });
    const Word state = found.in_open_bucket ? kEmpty : kErased;
    const bool erases = found.slot && atomicCAS(&found.slot->state, found.state, state) == found.state;
    const uint32_t ticket = take_ticket(&table->tickets, erases);
    if (erases) freed[ticket] = uint32_t(found.state);
    take_ticket(&table->emptied, erases && state == kEmpty);
  }
  if (!is_last_block(table, gridDim.x)) return;
  const uint32_t erased = atomicExch(&table->tickets, 0);
  table->free_count += erased;
  table->counters[RECIS_TABLE_SIZE] -= erased;
  table->counters[RECIS_TABLE_USED] -= atomicExch(&table->emptied, 0);
}

__global__ void __launch_bounds__(kThreads) zero_kernel(int64_t* counts, int64_t count) {
  wait_for_stream();
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) counts[i] = 0;
}

__global__ void __launch_bounds__(kThreads) size_kernel(const Table* table, int64_t tables, int64_t* counts) {
  wait_for_stream();
  uint32_t* block_counts = dynamic_shared<uint32_t>();
  for (int64_t t = threadIdx.x; t < tables; t += kThreads) block_counts[t] = 0;
  __syncthreads();
  const Storage storage = table->storage;
  for (int64_t i = grid_thread(); i < storage.slot_count; i += grid_threads()) {
    const Slot slot = storage.slots[i];
    if (slot.is_occupied() && slot.tag() <= tables) atomicAdd(&block_counts[slot.tag() - 1], 1);
  }
  __syncthreads();
  for (int64_t t = threadIdx.x; t < tables; t += kThreads)
    if (block_counts[t]) atomicAdd(reinterpret_cast<Word*>(&counts[t]), block_counts[t]);
}

__global__ void __launch_bounds__(kThreads)
    export_kernel(const Table* table, uint32_t logical_table, int64_t capacity, int64_t* ids, uint32_t* rows,
                  int64_t* count) {
  wait_for_stream();
  const Storage storage = table->storage;
  const int lane = threadIdx.x % 32;
  for (int64_t first = grid_thread() - lane; first < storage.slot_count; first += grid_threads()) {
    const int64_t i = first + lane;
    const Slot slot = i < storage.slot_count ? storage.slots[i] : Slot{0, kEmpty};
    const bool is_exported = slot.is_occupied() && slot.tag() - 1 == logical_table;
    const Word place = take_ticket(reinterpret_cast<Word*>(count), is_exported);
    if (!is_exported || place >= Word(capacity)) continue;
    ids[place] = int64_t(slot.id);
    rows[place] = slot.row();
  }
}

// The smallest storage for that many ids.
int64_t slots_for(int64_t ids) {
  int64_t slots = kBucketSlots;
  while (capacity_of(slots) < ids) slots *= 2;
  return slots;
}

// Rows are numbers of 32 bits, and the last one means none.
int require_room(int64_t ids, const char* op) {
  return first_of(require(ids >= 0, op, "ids", "is negative"),
                  require(ids < RECIS_NO_ROW, op, "ids", "is not below 2^32 - 1"));
}

// Empty slots for that many ids.
int allocate_storage(const char* op, int64_t ids, Storage* storage, recis_stream_t stream) {
  void* memory = nullptr;
  const int64_t slot_count = slots_for(ids);
  if (int status = allocate(op, Storage::bytes(slot_count), &memory, stream)) return status;
  *storage = {static_cast<Slot*>(memory), slot_count};
  return launch(op, clear_kernel, blocks_for(slot_count), kThreads, 0, stream, *storage);
}

int require_table(const recis_hash_table* table, const char* op) {
  return require(table, op, "table", "is null");
}

int require_tables(int64_t tables, const char* op) {
  return require(tables >= 1 && tables <= kMaxTables, op, "tables", "is not between 1 and 4096");
}

// What find, find_or_insert and erase take. Places are numbers of 32 bits.
int require_batch(const recis_hash_table* table, const int64_t* ids, const uint32_t* table_offsets,
                  int64_t tables, int64_t capacity, const char* op) {
  return first_of(require_table(table, op), require_array(ids, capacity, op, "ids"),
                  require(capacity < INT64_C(1) << 32, op, "capacity", "is not below 2^32"),
                  require_tables(tables, op), require_array(table_offsets, 1, op, "table_offsets"));
}

}  // namespace
}  // namespace recis

extern "C" int recis_hash_table_create(int64_t ids, recis_hash_table** table, recis_stream_t stream) {
  using namespace recis;
  const char* op = "hash_table.create";
  if (int status = first_of(require_room(ids, op), require(table, op, "table", "is null"))) return status;
  if (int status = require_not_captured(op, stream)) return status;
  *table = nullptr;
  auto* made = new (std::nothrow) recis_hash_table{};
  if (!made) return fail(RECIS_OUT_OF_MEMORY, op, "the handle", "finds no memory", location::current());
  void* memory = nullptr;
  int status = allocate(op, sizeof(Table), &memory);
  made->table = static_cast<Table*>(memory);
  if (!status) status = allocate_storage(op, ids, &made->storage, stream);
  if (!status) status = launch(op, create_kernel, 1, 1, 0, stream, made->table, made->storage);
  if (status) recis_hash_table_destroy(made);
  else *table = made;
  return status;
}

extern "C" int recis_hash_table_destroy(recis_hash_table* table) {
  using namespace recis;
  const char* op = "hash_table.destroy";
  if (!table) return RECIS_OK;
  // The first release waits.
  const int status = release(op, table->table);
  const int storage_status = release(op, table->storage.slots);
  delete table;
  return first_of(status, storage_status);
}

extern "C" int recis_hash_table_reserve(recis_hash_table* table, int64_t ids, recis_stream_t stream) {
  using namespace recis;
  const char* op = "hash_table.reserve";
  if (int status = first_of(require_table(table, op), require_room(ids, op))) return status;
  if (int status = require_not_captured(op, stream)) return status;
  const Storage old = table->storage;
  const int64_t capacity = capacity_of(old.slot_count);
  if (ids <= capacity && !table->may_have_erased && !table->has_captured_erase) return RECIS_OK;
  Storage storage{};
  int status = allocate_storage(op, ids > capacity ? ids : capacity, &storage, stream);
  if (!status)
    status = launch(op, reserve_kernel, blocks_for(old.slot_count), kThreads, 0, stream, table->table,
                    storage);
  if (status) {
    if (storage.slots) release(op, storage.slots, stream);
    return status;
  }
  table->storage = storage;
  table->may_have_erased = false;
  return release(op, old.slots, stream);
}

extern "C" int64_t recis_hash_table_capacity(const recis_hash_table* table) {
  return table ? recis::capacity_of(table->storage.slot_count) : 0;
}

extern "C" int recis_hash_table_counters(const recis_hash_table* table, int64_t* counters,
                                         recis_stream_t stream) {
  using namespace recis;
  const char* op = "hash_table.counters";
  if (int status = first_of(require_table(table, op),
                            require_array(counters, RECIS_TABLE_COUNTERS, op, "counters")))
    return status;
  return launch(op, counters_kernel, 1, 1, 0, stream, table->table, counters);
}

extern "C" int recis_hash_table_find(const recis_hash_table* table, const int64_t* ids,
                                     const uint32_t* table_offsets, int64_t tables, int64_t capacity,
                                     uint32_t* rows, recis_stream_t stream) {
  using namespace recis;
  const char* op = "hash_table.find";
  if (int status = first_of(require_batch(table, ids, table_offsets, tables, capacity, op),
                            require_array(rows, capacity, op, "rows")))
    return status;
  if (capacity == 0) return RECIS_OK;
  return launch(op, find_kernel, blocks_for(capacity), kThreads, 0, stream, table->table, ids, table_offsets,
                tables, capacity, rows);
}

extern "C" int recis_hash_table_find_or_insert(recis_hash_table* table, const int64_t* ids,
                                               const uint32_t* table_offsets, int64_t tables,
                                               int64_t capacity, uint32_t* rows, uint32_t* new_ids,
                                               uint32_t* new_count, int64_t* counters,
                                               recis_stream_t stream) {
  using namespace recis;
  const char* op = "hash_table.find_or_insert";
  if (int status = first_of(require_batch(table, ids, table_offsets, tables, capacity, op),
                            require_array(rows, capacity, op, "rows"),
                            require_array(new_ids, capacity, op, "new_ids"),
                            require_array(new_count, 1, op, "new_count"),
                            require_array(counters, 0, op, "counters")))
    return status;
  // Of an empty batch too, new_count is to be written.
  return launch(op, find_or_insert_kernel, blocks_for(capacity), kThreads, 0, stream, table->table, ids, table_offsets,
                tables, capacity, rows, new_ids, new_count, counters);
}

extern "C" int recis_hash_table_erase(recis_hash_table* table, const int64_t* ids,
                                      const uint32_t* table_offsets, int64_t tables, int64_t capacity,
                                      recis_stream_t stream) {
  using namespace recis;
  const char* op = "hash_table.erase";
  if (int status = require_batch(table, ids, table_offsets, tables, capacity, op)) return status;
  if (capacity == 0) return RECIS_OK;
  table->may_have_erased = true;
  table->has_captured_erase |= is_capturing(stream);
  return launch(op, erase_kernel, blocks_for(capacity), kThreads, 0, stream, table->table, ids, table_offsets,
                tables, capacity);
}

extern "C" int recis_hash_table_size(const recis_hash_table* table, int64_t tables, int64_t* counts,
                                     recis_stream_t stream) {
  using namespace recis;
  const char* op = "hash_table.size";
  if (int status = first_of(require_table(table, op), require_tables(tables, op),
                            require_array(counts, tables, op, "counts")))
    return status;
  if (int status = launch(op, zero_kernel, blocks_for(tables), kThreads, 0, stream, counts, tables))
    return status;
  return launch(op, size_kernel, blocks_for(table->storage.slot_count), kThreads,
                size_t(tables) * sizeof(uint32_t), stream, table->table, tables, counts);
}

extern "C" int recis_hash_table_export(const recis_hash_table* table, uint32_t logical_table,
                                       int64_t capacity, int64_t* ids, uint32_t* rows, int64_t* count,
                                       recis_stream_t stream) {
  using namespace recis;
  const char* op = "hash_table.export";
  if (int status = first_of(require_table(table, op),
                            require(logical_table < kMaxTables, op, "logical_table", "is not below 4096"),
                            require_array(ids, capacity, op, "ids"),
                            require_array(rows, capacity, op, "rows"), require_array(count, 1, op, "count")))
    return status;
  if (int status = launch(op, zero_kernel, 1, kThreads, 0, stream, count, 1)) return status;
  return launch(op, export_kernel, blocks_for(table->storage.slot_count), kThreads, 0, stream, table->table,
                logical_table, capacity, ids, rows, count);
}
