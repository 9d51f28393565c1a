// The hash table on the device: what lies in memory, and how a thread finds, claims and erases slots.
//
// A key goes into the first empty slot of its probe sequence: all slots of a bucket, then those of the
// next. So a search ends at a bucket with an empty slot, and threads that insert the same key meet at
// one slot. An erased slot becomes empty if its bucket has another empty one, as no key has ever gone
// past such a bucket; else it is marked as erased until the table moves to new storage.
//
// Everything that changes lies in device memory at addresses that stay, so that a launch needs no
// other arguments when the table has grown.
#pragma once

#include "warp_sums.cuh"

namespace recis {

using Word = unsigned long long;

// 32 bytes, the unit of memory traffic.
constexpr int kBucketSlots = 2;

// The upper half of a slot: a row, and above it what the slot holds. A tag between 1 and kMaxTables
// says that it holds an id of logical table tag - 1.
constexpr int64_t kMaxTables = 4096;
constexpr uint32_t kEmptyTag = 0, kErasedTag = 0xfffffffe, kClaimedTag = 0xffffffff;
__host__ __device__ constexpr Word state_of(uint32_t tag, uint32_t row) { return Word(tag) << 32 | row; }
constexpr Word kEmpty = 0;
constexpr Word kErased = state_of(kErasedTag, 0);
constexpr Word kClaimed = state_of(kClaimedTag, 0);  // a thread is about to write it

struct alignas(16) Slot {
  Word id, state;

  __device__ uint32_t row() const { return uint32_t(state); }
  __device__ uint32_t tag() const { return uint32_t(state >> 32); }
  __device__ bool is_occupied() const { return tag() - 1 < uint32_t(kMaxTables); }
  __device__ bool holds(Word key_id, uint32_t key_tag) const { return tag() == key_tag && id == key_id; }
};

// Slots that other threads write or read meanwhile, past the first-level cache. 16 aligned bytes are one
// access on every device, so an id is never seen without its state, and no fence is needed.
__device__ __forceinline__ Slot load_shared(const Slot* slot) {
  const ulonglong2 words = __ldcv(reinterpret_cast<const ulonglong2*>(slot));
  return {words.x, words.y};
}
// The same, but as it was at some time earlier in the launch: from the first-level cache, which fetches a
// bucket in one request.
__device__ __forceinline__ Slot load_earlier(const Slot* slot) {
  const ulonglong2 words = __ldca(reinterpret_cast<const ulonglong2*>(slot));
  return {words.x, words.y};
}
__device__ __forceinline__ void store_shared(Slot* slot, Slot value) {
  __stwt(reinterpret_cast<ulonglong2*>(slot), ulonglong2{value.id, value.state});
}

// How many ids that many slots are meant for: beyond 2/3, probe sequences get long.
__host__ __device__ constexpr int64_t capacity_of(int64_t slots) { return slots * 2 / 3; }

// Slots, and behind them the rows of erased ids.
struct Storage {
  Slot* slots;
  int64_t slot_count;  // kBucketSlots times a power of two

  __host__ __device__ uint32_t* free_rows() const { return reinterpret_cast<uint32_t*>(slots + slot_count); }
  __host__ __device__ static size_t bytes(int64_t slot_count) {
    return size_t(slot_count) * sizeof(Slot) + size_t(capacity_of(slot_count)) * sizeof(uint32_t);
  }
};

// A table in device memory. Kernels read it when they begin; their last block changes it.
struct Table {
  Storage storage;
  Word counters[RECIS_TABLE_COUNTERS];
  uint32_t free_count;
  // Of the running launch, otherwise 0: ids inserted or erased, slots that became empty, and blocks
  // that are done.
  uint32_t tickets, emptied, blocks_done;
};

// The id of a place in a batch, and its table's tag.
struct Key {
  Word id;
  uint32_t tag;
};
__device__ __forceinline__ Key key_at(const int64_t* ids, const uint32_t* table_offsets, int64_t tables,
                                      int64_t place) {
  return {Word(ids[place]), range_of(table_offsets, tables, uint32_t(place)) + 1};
}

// The buckets where a key may be: every bucket once, in steps that differ from key to key.
class Probe {
 public:
  __device__ Probe(const Storage& storage, Key key)
      : slots_(storage.slots), mask_(storage.slot_count / kBucketSlots - 1), left_(mask_) {
    // The multiplications of splitmix64 spread ids that agree in their low or high bits.
    Word x = key.id + key.tag * 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    x ^= x >> 31;
    bucket_ = x & mask_;
    step_ = x >> 32 | 1;  // odd, so that it reaches every one of a power of two
  }

  __device__ Slot* bucket() const { return slots_ + bucket_ * kBucketSlots; }
  // Goes to the next bucket. False if there is none.
  __device__ bool next() {
    bucket_ = (bucket_ + step_) & mask_;
    return left_-- > 0;
  }

 private:
  Slot* slots_;
  Word mask_, bucket_, step_, left_;
};

// Where a key was found: null if it is not there.
struct Found {
  Slot* slot;
  Word state;
  bool in_open_bucket;  // whether the bucket has an empty slot
};

// Looks for a key while nothing is inserted. `load` reads a slot: as shared if others erase meanwhile.
template <class Load>
__device__ __forceinline__ Found locate(const Storage& storage, Key key, Load load) {
  Probe probe(storage, key);
  do {
    Found found{};
#pragma unroll
    for (int k = 0; k < kBucketSlots; ++k) {
      const Slot slot = load(probe.bucket() + k);
      if (slot.holds(key.id, key.tag)) found.slot = probe.bucket() + k, found.state = slot.state;
      found.in_open_bucket |= slot.state == kEmpty;
    }
    if (found.slot || found.in_open_bucket) return found;
  } while (probe.next());
  return {};
}

// What has become of a key that is being looked for or inserted.
struct Insertion {
  enum { found, claimed, blocked, full } outcome;
  Slot* slot;    // the one that was claimed: the caller must fill it, or make it empty again
  uint32_t row;  // of the key that was found
};

// Goes on along the probe sequence until the key is found, a slot for it is claimed, no slot is left,
// or it must be decided first what another thread writes to a slot that may be the key's: then the
// caller must try again. For a key's first try buckets may be seen as they were earlier: what is occupied or
// erased stays so, and a slot is only claimed if it is empty still.
__device__ __forceinline__ Insertion find_or_claim(Probe& probe, Key key, bool is_first) {
  do {
    Slot slots[kBucketSlots];  // all on their way at once
#pragma unroll
    for (int k = 0; k < kBucketSlots; ++k)
      slots[k] = is_first ? load_earlier(probe.bucket() + k) : load_shared(probe.bucket() + k);
    int first_empty = kBucketSlots;
    bool is_claimed = false;
#pragma unroll
    for (int k = kBucketSlots - 1; k >= 0; --k) {
      if (slots[k].holds(key.id, key.tag)) return {Insertion::found, nullptr, slots[k].row()};
      is_claimed |= slots[k].state == kClaimed;
      if (slots[k].state == kEmpty) first_empty = k;
    }
    if (is_claimed) return {Insertion::blocked, nullptr, RECIS_NO_ROW};
    if (first_empty < kBucketSlots) {
      Slot* const empty = probe.bucket() + first_empty;
      const bool won = atomicCAS(&empty->state, kEmpty, kClaimed) == kEmpty;
      return {won ? Insertion::claimed : Insertion::blocked, won ? empty : nullptr, RECIS_NO_ROW};
    }
  } while (probe.next());
  return {Insertion::full, nullptr, RECIS_NO_ROW};
}

// Numbers from a counter for those lanes of a full warp that want one: one atomic for all.
template <class T>
__device__ __forceinline__ T take_ticket(T* counter, bool wanted) {
  const unsigned takers = __ballot_sync(~0u, wanted);
  if (takers == 0) return 0;
  const unsigned lane = threadIdx.x % 32, leader = __ffs(int(takers)) - 1;
  T first = 0;
  if (lane == leader) first = atomicAdd(counter, T(__popc(takers)));
  return __shfl_sync(~0u, first, int(leader)) + __popc(takers & ((1u << lane) - 1));
}

// What the warps of a block tell each other of the tickets that they want. Rounds take turns with two of these, so
// that one that is being read is not written yet.
struct BlockTickets {
  uint32_t wanted[32], first;
};
struct Round {
  uint32_t ticket;
  bool is_last;  // no thread of the block wants another
};
// Numbers from a counter for those threads of a block that want one: one atomic for all, as warps by themselves
// would queue up for one address. All threads take part.
__device__ __forceinline__ Round take_block_ticket(uint32_t* counter, bool wanted, bool wants_another,
                                                   BlockTickets& shared) {
  const unsigned lane = threadIdx.x % 32, takers = __ballot_sync(~0u, wanted);
  if (lane == 0) shared.wanted[threadIdx.x / 32] = __popc(takers);
  const bool is_last = !__syncthreads_or(wants_another);
  const WarpSums sums = read_warp_sums(shared.wanted);
  if (sums.all == 0) return {0, is_last};
  if (threadIdx.x == 0) shared.first = atomicAdd(counter, sums.all);
  __syncthreads();
  return {shared.first + sums.before + __popc(takers & ((1u << lane) - 1)), is_last};
}

// The rows that a launch gives out: those of erased ids, the last one first, then new ones.
struct Rows {
  const uint32_t* free_rows;
  uint32_t free_count, bound, limit;

  __device__ explicit Rows(const Table& table)
      : free_rows(table.storage.free_rows()),
        free_count(table.free_count),
        bound(uint32_t(table.counters[RECIS_TABLE_ROW_BOUND])),
        limit(uint32_t(capacity_of(table.storage.slot_count))) {}

  __device__ uint32_t available() const { return free_count + (limit - bound); }
  // The row for a ticket; RECIS_NO_ROW if there are not that many.
  __device__ uint32_t row(uint32_t ticket) const {
    if (ticket >= available()) return RECIS_NO_ROW;
    return ticket < free_count ? free_rows[free_count - 1 - ticket] : bound + (ticket - free_count);
  }
};

// Called by all threads of a block when it has done its work: whether it is the last of so many, which then
// sees what the others have done. True for one thread.
__device__ __forceinline__ bool is_last_block(Table* table, unsigned blocks) {
  __syncthreads();
  if (threadIdx.x != 0) return false;
  __threadfence();
  if (atomicAdd(&table->blocks_done, 1) != blocks - 1) return false;
  __threadfence();
  table->blocks_done = 0;
  return true;
}

}  // namespace recis
