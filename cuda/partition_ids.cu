// The distinct ids of several columns, and the positions of each.
//
// Ids and tables are packed into the bits that vary in the batch, as those are few, and sorted with their
// positions. Where another id than before begins in that order is the next distinct one. If there is room
// for a list of all packed ids, each position looks up there the place of its id: to write places to
// positions in the order of ids would be to write everywhere at once. And if the positions of only some columns
// are wanted in order, there it is only marked which ids there are, and only those positions are sorted.
#include "id_columns.cuh"
#include "marked_ids.cuh"
#include "partition_ids_small.cuh"
#include "warp_sums.cuh"

#include <algorithm>

namespace recis {
namespace {

// The arrays between the kernels.
struct Scratch {
  // [total] the packed keys by position; before, the tables and ids of FromArray.
  uint32_t* highs;
  uint64_t* rests;
  // Where all numbers below 2^bits are so few: the place of each packed key that there is. Lies where such
  // keys have no rest.
  uint32_t* place_of;
  int64_t place_count;
  Mark* marks;  // [place_count / 32 + 2]
  uint32_t listed;  // so many positions are wanted in order
  Packing* packing;
  Seen* seen;  // [kPackBlocks]
  Sort sort;
  // All that must be zero before the sort, and where it lies.
  uint32_t* zeros;
  int64_t zero_count;
  uint32_t *histograms, *told;  // told: of the tiles of ids in order

  __device__ bool has_places(uint32_t bits) const { return bits < 32 && int64_t(1) << bits <= place_count; }
  __device__ bool has_marks(uint32_t bits) const { return listed < sort.count && has_places(bits); }
  __device__ uint32_t* place_list() const { return has_places(sort.size->bits) ? place_of : nullptr; }
  __device__ Marks by_marks() const { return {marks, place_of}; }
  __device__ Sorted sorted(const uint32_t* positions) const {
    return {packing, sort.sorted(), positions, rests};
  }
};

constexpr int kPackThreads = 512, kPackItems = 4;
constexpr int kPackBlocks = 132 * 2;  // two on each multiprocessor of an H100
constexpr int kRunThreads = 512, kRunItems = 8, kRun = kRunThreads * kRunItems;
constexpr int64_t run_count(int64_t total) { return (total + kRun - 1) / kRun; }

// Fills the array of FromArray, for the positions that some columns cover; the first of several launches
// does for all others too.
__global__ void __launch_bounds__(kThreads)
    keys_kernel(Columns columns, uint32_t no_table, uint32_t total, bool is_first, Scratch scratch) {
  wait_for_stream();
  __shared__ ColumnsHere here;
  here.set(columns);
  __syncthreads();
  for (int64_t i = grid_thread(); i < total; i += grid_threads()) {
    if (!is_first && !here.covers(uint32_t(i))) continue;
    const Key key = here.key(uint32_t(i), no_table);
    scratch.highs[i] = key.table;
    scratch.rests[i] = key.id;
  }
}

// Calls `use(position, key)` for the positions of a block's tiles.
template <class From, class Use>
__device__ __forceinline__ void for_each_key(const From& from, const typename From::Here& here, uint32_t total,
                                             Use use) {
  constexpr uint32_t kTile = kPackThreads * kPackItems;
  for (int64_t tile = blockIdx.x; tile * kTile < total; tile += gridDim.x) {
    const uint32_t begin = uint32_t(tile) * kTile, first = begin + threadIdx.x;
    const typename From::Some some(from, here, begin, min(begin + kTile, total) - 1);
    Key keys[kPackItems];
#pragma unroll
    for (int k = 0; k < kPackItems; ++k)
      if (first + k * kPackThreads < total) keys[k] = some.key(first + k * kPackThreads);
#pragma unroll
    for (int k = 0; k < kPackItems; ++k)
      if (first + k * kPackThreads < total) use(first + k * kPackThreads, keys[k]);
  }
}

// What each block sees of the keys; and zeros where the sort wants them.
template <class From>
__global__ void __launch_bounds__(kPackThreads) seen_kernel(From from, uint32_t total, Scratch scratch) {
  wait_for_stream();
  __shared__ typename From::Here here;
  __shared__ Seen all;
  from.set(here);
  for (int64_t i = grid_thread(); i < scratch.zero_count; i += grid_threads()) scratch.zeros[i] = 0;
  __syncthreads();
  Seen mine{};
  for_each_key(from, here, total, [&](uint32_t position, Key key) {
    if (key.table != from.no_table) mine.add(key, position < scratch.listed);
  });
  see_together(mine, all);
  __syncthreads();
  if (threadIdx.x == 0) scratch.seen[blockIdx.x] = all;
}

// Packs the keys, and counts the digits of the high words that will be sorted.
template <class From>
__global__ void __launch_bounds__(kPackThreads) pack_kernel(From from, uint32_t total, Scratch scratch) {
  wait_for_stream();
  // Copies, so that lanes with the same digit do not all wait for each other.
  constexpr int kCopies = 4;
  __shared__ typename From::Here here;
  __shared__ Seen all;
  __shared__ Packing packing;
  __shared__ uint32_t counts[kPassesOfWord][kDigits][kCopies], marked[kBlockMarkWords];
  from.set(here);
  Seen mine{};
  for (unsigned block = threadIdx.x; block < gridDim.x; block += kPackThreads) mine.add(scratch.seen[block]);
  see_together(mine, all);
  __syncthreads();
  packing.set(all);
  __syncthreads();
  const int passes = packing.size.high_passes();
  const bool has_marks = scratch.has_marks(packing.size.bits);
  const uint32_t sorted = has_marks ? scratch.listed : total;
  if (threadIdx.x == 0 && has_marks) packing.list_first(sorted, all);
  if (blockIdx.x == 0 && threadIdx.x == 0) *scratch.packing = packing;
  for (int i = int(threadIdx.x); i < passes * kDigits * kCopies; i += kPackThreads) (&counts[0][0][0])[i] = 0;
  const bool here_first = has_marks && packing.size.bits <= kBlockMarkBits;
  const uint32_t marked_words = here_first ? Marks::words(packing.size.bits) : 0;
  for (uint32_t i = threadIdx.x; i < marked_words; i += kPackThreads) marked[i] = 0;
  __syncthreads();
  const auto count = [&](int pass, uint32_t digit) { atomicAdd(&counts[pass][digit][threadIdx.x % kCopies], 1u); };
  const auto mark = [&](uint32_t key) {
    if (!here_first) scratch.by_marks().set(key);
    else if (!Marks::is_set(marked[key / 32], key)) atomicOr(&marked[key / 32], 1u << key % 32);
  };
  const uint32_t digit_mask = packing.size.digit(0).mask;  // the others are as wide
  const int digit_width = __popc(digit_mask);
  const auto store = [&](bool is_long, const auto& packs, uint32_t position, Key key) {
    const bool is_used = key.table != from.no_table;
    const Packed packed = is_used ? packs.pack(key) : Packed{kNoKey, 0};
    uint32_t high = packed.high;
    scratch.highs[position] = high;
    if (is_long) scratch.rests[position] = packed.rest;
    else if (is_used && has_marks) mark(high);
    const bool is_sorted = is_used && position < sorted;
    for (int pass = 0; is_sorted && pass < passes; ++pass, high >>= digit_width) count(pass, high & digit_mask);
  };
  // From registers where that is possible: what takes time here are instructions.
  const bool is_long = packing.is_long();
  if (!packing.has_two_runs())
    for_each_key(from, here, total, [&](uint32_t i, Key key) { store(is_long, packing, i, key); });
  else if (is_long)
    for_each_key(from, here, total, [&, packs = RegisterPacking<true>(packing)](uint32_t i, Key key) {
      store(true, packs, i, key);
    });
  else
    for_each_key(from, here, total, [&, packs = RegisterPacking<false>(packing)](uint32_t i, Key key) {
      store(false, packs, i, key);
    });
  __syncthreads();
  for (int i = int(threadIdx.x); i < passes * kDigits; i += kPackThreads) {
    const uint32_t(&copies)[kCopies] = (&counts[0][0])[i];
    uint32_t count = 0;
    for (uint32_t copy : copies) count += copy;
    if (count > 0) atomicAdd(&scratch.histograms[i], count);
  }
  for (uint32_t i = threadIdx.x; i < marked_words; i += kPackThreads)
    if (marked[i] != 0) scratch.by_marks().set_all(i, marked[i]);
}

// The distinct ids, if they are marked.
__global__ void __launch_bounds__(kMarkThreads) marks_kernel(Scratch scratch, Results out) {
  wait_for_stream();
  __shared__ Packing packing;
  if (threadIdx.x == 0) packing = *scratch.packing;
  __syncthreads();
  if (scratch.has_marks(packing.size.bits)) count_marks(scratch.by_marks(), packing, scratch.told, out);
}

// All but the inverse, and that too where it is not looked up; only where positions begin, if ids are marked.
__global__ void __launch_bounds__(kRunThreads, 2) results_kernel(Scratch scratch, Results out) {
  wait_for_stream();
  __shared__ uint32_t counts[32], before_tile;
  __shared__ Packing packing;
  if (threadIdx.x == 0) packing = *scratch.packing;
  __syncthreads();
  if (scratch.has_marks(packing.size.bits))
    return write_starts(scratch.by_marks(), packing.size, scratch.sort.sorted(), out);
  Sorted sorted = scratch.sorted(out.positions);
  sorted.packing = &packing;
  uint32_t* const place_of = scratch.place_list();
  SortedRun<kRunItems> run;
  const uint32_t tile = blockIdx.x;
  const WarpSums heads =
      sum_over_warps(run.read(sorted, tile * kRun + threadIdx.x / 32 * 32 * kRunItems, !place_of), counts);
  if (threadIdx.x < 32) {
    if (threadIdx.x == 0 && tile > 0) tell_sum(scratch.told + tile, heads.all);
    const uint32_t before = sum_before_by_warp(scratch.told, tile);
    if (threadIdx.x == 0) {
      before_tile = before;
      tell_sum_up_to_end(scratch.told + tile, before + heads.all);
    }
  }
  __syncthreads();
  run.write(sorted, before_tile + heads.before, out, place_of);
  if (tile == gridDim.x - 1) write_end(sorted, before_tile + heads.all, out);
}

// Looks up the place of each position's id.
__global__ void __launch_bounds__(kThreads) inverse_kernel(Scratch scratch, Results out) {
  wait_for_stream();
  const uint32_t* place_of = scratch.place_list();
  if (!place_of) return;
  const bool has_marks = scratch.has_marks(scratch.sort.size->bits);
  const Marks marks = scratch.by_marks();
  if (has_marks && blockIdx.x == 0) write_tables(marks, *scratch.packing, out);
  const int64_t packs = (int64_t(out.total) + 3) / 4;
  for (int64_t pack = grid_thread(); pack < packs; pack += grid_threads()) {
    const Pack<uint32_t> keys = reinterpret_cast<const Pack<uint32_t>*>(scratch.highs)[pack];
    Pack<uint32_t> places;
    bool all = true;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const bool is_used = pack * 4 + k < out.total && keys.value[k] != kNoKey;
      if (is_used) places.value[k] = has_marks ? marks.before(keys.value[k]) : place_of[keys.value[k]];
      all = all && is_used;
    }
    if (all) reinterpret_cast<Pack<uint32_t>*>(out.inverse)[pack] = places;
    else
      for (int k = 0; k < 4; ++k)
        if (pack * 4 + k < out.total && keys.value[k] != kNoKey) out.inverse[pack * 4 + k] = places.value[k];
  }
}

Scratch take(Workspace& workspace, int64_t total, int64_t listed) {
  Scratch scratch{};
  scratch.listed = uint32_t(listed);
  scratch.highs = workspace.take<uint32_t>((total + 3) / 4 * 4);  // read in packs of four
  scratch.rests = workspace.take<uint64_t>(total);
  scratch.place_of = reinterpret_cast<uint32_t*>(scratch.rests);
  scratch.place_count = 2 * total;
  scratch.packing = workspace.take<Packing>(1);
  scratch.seen = workspace.take<Seen>(kPackBlocks);

  Sort& sort = scratch.sort;
  sort.count = uint32_t(total);
  sort.tiles = uint32_t(sort_tiles(total));
  sort.size = scratch.packing ? &scratch.packing->size : nullptr;
  sort.highs = scratch.highs;
  sort.rests = scratch.rests;
  for (Pairs& pairs : sort.pairs) pairs = {workspace.take<uint32_t>(total), workspace.take<uint32_t>(total)};

  const size_t begin = workspace.bytes();
  scratch.zeros = sort.ticket = workspace.take<uint32_t>(1);
  sort.done = workspace.take<uint32_t>(kMaxStages);
  sort.too_many_ties = workspace.take<uint32_t>(1);
  sort.histograms = scratch.histograms = workspace.take<uint32_t>(kMaxPasses * kDigits);
  sort.told = workspace.take<uint32_t>(2 * int64_t(sort.tiles) * kDigits);
  const int64_t words = scratch.place_count / 32 + 1;
  scratch.told = workspace.take<uint32_t>(std::max(run_count(total), mark_tiles(words)));
  // Only if some positions are not wanted in order.
  scratch.marks = workspace.take<Mark>(listed < total ? words + 1 : 0);
  scratch.zero_count = int64_t(workspace.bytes() - begin) / int64_t(sizeof(uint32_t));
  return scratch;
}

int require_sizes(int64_t total, int64_t tables, int64_t listed, const char* op) {
  return first_of(require(total >= 0 && total <= INT32_MAX, op, "total", "is not within 0..2^31"),
                  require(listed >= 0 && listed <= total, op, "listed", "is not within 0..=total"),
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

// As many of the columns as a launch takes, from `next` on, which goes on behind them. Without empty ones:
// they could begin between another's ends, and hide it.
Columns take_columns(const recis_ids_column* columns, int64_t column_count, int64_t& next) {
  Columns some = {};
  for (; next < column_count && some.count < kColumns; ++next)
    if (columns[next].capacity > 0) some.column[some.count++] = columns[next];
  std::sort(some.column, some.column + some.count, [](auto& a, auto& b) { return a.first < b.first; });
  for (; next < column_count && columns[next].capacity == 0; ++next) {}
  return some;
}

template <class From>
int partition(const char* op, const From& from, const Scratch& scratch, const Results& out,
              recis_stream_t stream) {
  const int64_t total = out.total, tile = kPackThreads * kPackItems;
  const unsigned blocks = unsigned(std::min<int64_t>((total + tile - 1) / tile, kPackBlocks));
  if (int status = launch(op, seen_kernel<From>, blocks, kPackThreads, 0, stream, from, out.total, scratch))
    return status;
  if (int status = launch(op, pack_kernel<From>, blocks, kPackThreads, 0, stream, from, out.total, scratch))
    return status;
  if (scratch.listed < out.total) {
    const unsigned tiles = unsigned(mark_tiles(scratch.place_count / 32 + 1));
    if (int status = launch(op, marks_kernel, tiles, kMarkThreads, 0, stream, scratch, out)) return status;
  }
  if (int status = sort_by_bits(op, scratch.sort, stream)) return status;
  if (int status = launch(op, results_kernel, unsigned(run_count(total)), kRunThreads, 0, stream, scratch, out))
    return status;
  return launch(op, inverse_kernel, blocks_for((total + 3) / 4), kThreads, 0, stream, scratch, out);
}

}  // namespace
}  // namespace recis

extern "C" int recis_partition_ids_workspace_size(int64_t total, int64_t tables, int64_t listed, size_t* bytes) {
  using namespace recis;
  const char* op = "partition_ids.workspace_size";
  if (int status = first_of(require_sizes(total, tables, listed, op), require(bytes, op, "bytes", "is null")))
    return status;
  Workspace needed;
  take(needed, total, listed);
  *bytes = needed.bytes();
  return RECIS_OK;
}

extern "C" int recis_partition_ids_forward(const recis_ids_column* columns, int64_t column_count,
                                           int64_t tables, int64_t total, int64_t listed, int64_t* ids,
                                           uint32_t* table_offsets, uint32_t* inverse, uint32_t* positions,
                                           uint32_t* starts, uint32_t* count, void* workspace,
                                           size_t workspace_bytes, recis_stream_t stream) {
  using namespace recis;
  const char* op = "partition_ids.forward";
  if (int status = first_of(
          require_sizes(total, tables, listed, op), require(column_count >= 0, op, "column_count", "is negative"),
          require(columns || column_count <= 0, op, "columns", "is null"),
          require_array(ids, total, op, "ids"), require_array(table_offsets, 1, op, "table_offsets"),
          require_array(inverse, total, op, "inverse"), require_array(positions, total, op, "positions"),
          require_array(starts, 1, op, "starts"), require_array(count, 0, op, "count")))
    return status;
  for (const recis_ids_column* column = columns; column != columns + column_count; ++column)
    if (int status = require_column(*column, tables, total, op)) return status;
  Workspace needed, memory(workspace);
  take(needed, total, listed);
  if (int status = require_workspace(workspace, workspace_bytes, needed.bytes(), op)) return status;

  Scratch scratch = take(memory, total, listed);
  scratch.sort.positions = positions;
  const Results out{ids, table_offsets, inverse, positions, starts, count, uint32_t(tables), uint32_t(total)};
  int64_t next = 0;
  const FromColumns from{take_columns(columns, column_count, next), out.tables};
  if (next >= column_count) {
    if (total <= kSmall)
      return launch(op, small_kernel, 1, kSmallThreads, 0, stream, from, scratch.highs, scratch.rests, out);
    return partition(op, from, scratch, out, stream);
  }
  bool is_first = true;
  for (Columns some = from.columns; some.count > 0; some = take_columns(columns, column_count, next)) {
    if (int status = launch(op, keys_kernel, blocks_for(total), kThreads, 0, stream, some, out.tables,
                            out.total, is_first, scratch))
      return status;
    is_first = false;
  }
  const FromArray array{scratch.rests, scratch.highs, out.tables};
  return partition(op, array, scratch, out, stream);
}
