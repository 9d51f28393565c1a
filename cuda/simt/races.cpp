// Watches the loads and stores of kernels for races, and for shared memory that nobody has written. The
// compiler calls us before each (-fsanitize=thread, without its own runtime).
//
// Two accesses race unless they are both atomic, both reads, or ordered: by the program, by a barrier,
// by a warp operation, or because one is published to the other. Every access remembered is an exact
// one, so what is reported is a race; but few are remembered for a word, so a race can be missed.
#include "races.hpp"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <thread>

namespace simt {

constinit thread_local Observed* observed SIMT_FAST_TLS = nullptr;

namespace {

// kBlind: it reads, but whatever it reads will do.
enum How : unsigned { kRead = 1, kWrite = 2, kAtomic = 4, kBlind = 8 };

// Tags of cells. 0 is a cell that was never used.
constexpr unsigned kBeside = 1;  // outside every buffer
constexpr unsigned kMixed = 2;   // a line or word that is partly outside: only its parts count
constexpr unsigned kFirstTag = 3, kTags = 1 << 14;

// Places of accesses, by number. 0 is a place that found no room.
constexpr unsigned kPlaces = 1 << 14;
std::atomic<const void*> places[kPlaces];

unsigned number_of(const void* caller) {
  const unsigned hash = unsigned(reinterpret_cast<uintptr_t>(caller) * 0x9e3779b97f4a7c15 >> 50);
  for (unsigned i = 0; i < 16; ++i) {
    const unsigned number = (hash + i) % kPlaces;
    const void* there = places[number].load(std::memory_order_relaxed);
    if (number == 0) continue;
    if (there == caller) return number;
    if (!there && (places[number].compare_exchange_strong(there, caller) || there == caller)) return number;
  }
  return 0;
}

std::string name_of(const Launch& launch, unsigned block, unsigned thread) {
  char text[200];
  const dim3 grid = launch.grid, size = launch.block;
  snprintf(text, sizeof(text), "block (%u, %u, %u), thread (%u, %u, %u)", block % grid.x,
           block / grid.x % grid.y, block / grid.x / grid.y, thread % size.x, thread / size.x % size.y,
           thread / size.x / size.y);
  return text;
}

std::string memory_of(const Shadow& shadow, const char* address) {
  char text[64];
  snprintf(text, sizeof(text), " at %p", static_cast<const void*>(address));
  switch (shadow.kind()) {
    case Shadow::Kind::buffers: return text + buffer_of(address);
    case Shadow::Kind::static_shared: return " of a __shared__ variable";
    default:
      return ", " + std::to_string(ptrdiff_t(shadow.offset(address))) +
             " bytes from the begin of the dynamic shared memory";
  }
}

const char* verb_of(unsigned how, bool past) {
  const bool writes = how & kWrite, atomic = how & kAtomic;
  if (writes) return past ? (atomic ? "wrote it atomically" : "wrote it") : atomic ? "writes atomically" : "writes";
  return past ? (atomic ? "read it atomically" : "read it") : atomic ? "reads atomically" : "reads";
}

// "simt: kernel x, block (..), thread (..): <what>", and where.
void report_begin(const Observed& self, const std::string& what, const void* caller) {
  begin_report();
  const Launch& launch = *self.block->launch;
  fprintf(stderr, "simt: kernel %s, %s: %s\n  at %s\n", launch.kernel,
          name_of(launch, self.block->number, self.thread).c_str(), what.c_str(), place_of(caller).c_str());
}

[[noreturn]] void report(const Observed& self, const std::string& what, const void* caller) {
  report_begin(self, what, caller);
  abort();
}

std::string describe(const Shadow& shadow, unsigned how, const char* address, size_t bytes) {
  const std::string access = verb_of(how, false) + (" " + std::to_string(bytes)) + " bytes";
  return access + memory_of(shadow, address);
}

[[noreturn]] void report_outside(const Observed& self, const Shadow& shadow, unsigned how,
                                 const char* address, size_t bytes, const void* caller) {
  report(self, "an access outside: " + describe(shadow, how, address, bytes), caller);
}

void report_race(const Observed& self, const Shadow& shadow, unsigned how, const char* address,
                              size_t bytes, const void* caller, Access other, unsigned other_how) {
  if (self.block->launch->races_allowed) return;
  const bool same_block = other.block == self.block->number;
  const bool same_warp = same_block && other.thread / 32 == self.thread / 32;
  const Launch& launch = *self.block->launch;
  report_begin(self, std::string("a race: ") + describe(shadow, how, address, bytes), caller);
  fprintf(stderr, "  and %s %s before, in no order with it\n  at %s\n",
          name_of(launch, unsigned(other.block), unsigned(other.thread)).c_str(), verb_of(other_how, true),
          place_of(places[other.place].load()).c_str());
  const char* help =
      same_warp    ? "  Lanes of a warp: __syncwarp() or __syncthreads() between the two orders them.\n"
      : same_block ? "  Threads of a block: __syncthreads() between the two orders them.\n"
                   : "  Blocks run at the same time. If one shall see what the other wrote: __threadfence()\n"
                     "  behind the write (and behind the barrier, if other threads of the block wrote), then an\n"
                     "  atomic; the other side reads that atomically first. If any order will do: atomics on\n"
                     "  both sides; a volatile load or store counts as one.\n";
  fputs(help, stderr);
  if ((how | other_how) & kAtomic)
    fputs("  An atomic on one side alone does not help: the plain access of the other side races.\n", stderr);
  abort();
}

}  // namespace

// ---- Time and order.

uint32_t Block::tick() {
  // Beyond, order could not be told.
  if (++now >= kTimes) launch->watched = false, now = kTimes - 1;
  return now;
}

void Block::begin(Launch& new_launch, uint32_t new_number, uint32_t new_threads) {
  launch = &new_launch;
  buffers = &simt::buffers();
  number = new_number;
  threads = new_threads;
  now = barrier = 1;
  if (number >= kBlocks) launch->watched = false;
  static_shared.next();
  dynamic_shared.next();
}

void Observed::begin(Block& new_block, uint32_t new_thread) {
  *this = {};
  block = &new_block;
  thread = new_thread;
  time = 1;
}

void Observed::settle_awaited() {
  const char* address = awaited;
  awaited = nullptr;
  awaited_shadow->lock(address);
  acquired = std::max(acquired, awaited_shadow->stamp(address, awaited_bytes));
  awaited_shadow->unlock(address);
}

inline bool Observed::ordered(const Access& access) const {
  const bool same_block = access.block == block->number;
  if (same_block) {
    if (access.thread == thread || access.time < block->barrier) return true;
    if (access.thread / 32 == thread / 32 && access.time <= known[access.thread % 32]) return true;
  }
  return acquired && block->launch->fences.cover(access, acquired, same_block);
}

void join_lanes(Observed* const* lanes, unsigned count) {
  uint32_t known[32] = {}, acquired = 0;
  for (unsigned i = 0; i < count; ++i) {
    Observed& lane = *lanes[i];
    lane.settle();
    lane.known[lane.thread % 32] = lane.time;
    for (unsigned k = 0; k < 32; ++k) known[k] = std::max(known[k], lane.known[k]);
    acquired = std::max(acquired, lane.acquired);
  }
  const uint32_t now = lanes[0]->block->tick();
  for (unsigned i = 0; i < count; ++i) {
    memcpy(lanes[i]->known, known, sizeof(known));
    lanes[i]->acquired = acquired;
    lanes[i]->time = now;
  }
}

void Fences::push(Log& log, bool device, Fence fence) {
  if (log.any.empty() || log.any.back().time < fence.time) log.any.push_back(fence);
  if (device && (log.device.empty() || log.device.back().time < fence.time)) log.device.push_back(fence);
}

uint32_t Fences::add(const Observed& self, bool device) {
  std::lock_guard lock(mutex_);
  const uint32_t stamp = ++stamp_;
  OfBlock& block = blocks_[self.block->number];
  if (block.of_thread.empty()) block.of_thread.resize(self.block->threads);
  const uint32_t barrier = self.block->barrier, warp = self.thread / 32 * 32;
  push(block.of_all, device, {barrier - 1, stamp});
  push(block.of_thread[self.thread], device, {self.time, stamp});
  for (uint32_t lane = 0; lane < 32; ++lane)
    if (self.known[lane] >= barrier && warp + lane != self.thread)
      push(block.of_thread[warp + lane], device, {self.known[lane], stamp});
  return stamp;
}

bool Fences::cover(const Access& access, uint32_t stamp, bool same_block) {
  std::lock_guard lock(mutex_);
  auto block = blocks_.find(uint32_t(access.block));
  if (block == blocks_.end()) return false;
  auto covers = [&](const Log& log) {
    const std::vector<Fence>& fences = same_block ? log.any : log.device;
    auto first = std::lower_bound(fences.begin(), fences.end(), uint32_t(access.time),
                                  [](const Fence& fence, uint32_t time) { return fence.time < time; });
    return first != fences.end() && first->stamp <= stamp;
  };
  return covers(block->second.of_all) || covers(block->second.of_thread[access.thread]);
}

void fence(bool device) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!observed) return;
  Observed& self = *observed;
  self.settle();
  self.released = self.block->launch->fences.add(self, device);
  self.time = self.block->tick();
}

// ---- Cells.

bool Shadow::map(Kind kind, size_t bytes) {
  kind_ = kind;
  bytes_ = (bytes + 15) & ~size_t(15);
  // Only what is touched takes memory.
  auto cells = [](size_t count) {
    void* map = mmap(nullptr, count * sizeof(Cell), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return map == MAP_FAILED ? nullptr : static_cast<Cell*>(map);
  };
  tag_ = kFirstTag;
  byte_cells_ = cells(bytes_);
  words_ = byte_cells_ ? cells(bytes_ / 4) : nullptr;
  lines_ = words_ ? cells(bytes_ / 16) : nullptr;
  if (lines_) return true;
  if (byte_cells_) munmap(byte_cells_, bytes_ * sizeof(Cell));
  if (words_) munmap(words_, bytes_ / 4 * sizeof(Cell));
  return false;
}

void Shadow::cover(char* begin, char* first, char* last) { begin_ = begin, first_ = first, last_ = last; }

bool Shadow::next() {
  if (++tag_ < kTags) return true;
  madvise(lines_, bytes_ / 16 * sizeof(Cell), MADV_DONTNEED);
  madvise(words_, bytes_ / 4 * sizeof(Cell), MADV_DONTNEED);
  madvise(byte_cells_, bytes_ * sizeof(Cell), MADV_DONTNEED);
  tag_ = kFirstTag;
  return false;
}

void Shadow::forbid(char* first, char* last, bool forbidden) {
  for (size_t i = size_t(first - begin_), end = size_t(last - begin_); i < end;) {
    Cell& word = words_[i / 4];
    if (i % 16 == 0 && end - i >= 16) {
      lines_[i / 16].tag = forbidden ? kBeside : 0;
      i += 16;
      continue;
    }
    lines_[i / 16].tag = forbidden ? kMixed : 0;
    if (i % 4 == 0 && end - i >= 4) {
      word.tag = forbidden ? kBeside : 0;
      i += 4;
    } else {
      word.tag = forbidden ? kMixed : 0;
      byte_cells_[i++].tag = forbidden ? kBeside : 0;
    }
  }
}

void Shadow::wait_for(std::atomic<uint8_t>& lock) {
  for (unsigned i = 1; lock.exchange(1, std::memory_order_acquire); ++i)
    if (i % 64 == 0) std::this_thread::yield();
}

inline Cell& Shadow::fresh(Cell& cell) const {
  if (cell.tag != tag_ && cell.tag != kBeside) {
    cell.tag = tag_;
    cell.masks = cell.split = cell.stamp = 0;
    cell.write = cell.read[0] = cell.read[1] = {};
  }
  return cell;
}

// From here on, each of four parts has a cell of its own.
void Shadow::split(Cell& cell, Cell* parts) const {
  for (unsigned i = 0; i < 4; ++i) {
    Cell& part = parts[i];
    part.tag = tag_;
    part.masks = 0xff;
    part.split = 0;
    part.stamp = cell.stamp;
    part.write = cell.write;
    for (unsigned k = 0; k < 2; ++k) part.read[k] = cell.masks >> (4 * k + i) & 1 ? cell.read[k] : Access{};
  }
  cell.split = 1;
}

template <class F>
inline void Shadow::for_each_cell(const char* address, size_t bytes, F f) {
  const size_t first = size_t(address - begin_);
  for (size_t i = first; i < first + bytes;) {
    const size_t count = std::min(first + bytes - i, 4 - i % 4);
    Cell* word = &words_[i / 4];
    f(*word, &byte_cells_[i / 4 * 4], unsigned(((1u << count) - 1) << i % 4));
    i += count;
  }
}

uint32_t Shadow::stamp(const char* address, size_t bytes) {
  const Cell& line = line_of(address);
  uint32_t stamp = line.tag == tag_ ? line.stamp : 0;
  for_each_cell(address, bytes, [&](Cell& word, Cell* byte_cells, unsigned mask) {
    if (word.tag == tag_) stamp = std::max(stamp, word.stamp);
    for (unsigned i = 0; i < 4; ++i)
      if (mask >> i & 1 && byte_cells[i].tag == tag_ && (word.split || word.tag == kMixed))
        stamp = std::max(stamp, byte_cells[i].stamp);
  });
  return stamp;
}

// What the access has split stays split.
void Shadow::set_stamp(const char* address, size_t bytes, uint32_t stamp) {
  Cell& line = line_of(address);
  if (line.tag == tag_ && !line.split) {
    line.stamp = std::max(line.stamp, stamp);
    return;
  }
  for_each_cell(address, bytes, [&](Cell& word, Cell* byte_cells, unsigned mask) {
    if (word.tag != kMixed && !word.split) {
      word.stamp = std::max(fresh(word).stamp, stamp);
      return;
    }
    for (unsigned i = 0; i < 4; ++i)
      if (mask >> i & 1) byte_cells[i].stamp = std::max(fresh(byte_cells[i]).stamp, stamp);
  });
}

namespace {

inline bool is(const Access& access) { return access.time != 0; }

// How different two readers are: a writer is more likely to be in order with one like itself.
unsigned distance(const Access& a, const Access& b) {
  return a.block != b.block ? 2 : a.thread / 32 != b.thread / 32 ? 1 : 0;
}

inline void remember_read(Cell& cell, const Access& now, unsigned mask, const Observed& self) {
  bool kept = false;
  for (unsigned k = 0; k < 2; ++k) {
    const unsigned shift = 4 * k;
    Access& read = cell.read[k];
    const bool same = is(read) && read.block == now.block && read.thread == now.thread &&
                      read.time == now.time && read.atomic == now.atomic;
    if (kept && (same || (is(read) && self.ordered(read)))) {
      read = {};
    } else if (!kept && (!is(read) || self.ordered(read))) {
      // What is ordered before this one needs no keeping: who is ordered behind this one is behind both.
      const unsigned before = same ? cell.masks >> shift & 0xf : 0;
      cell.masks = uint8_t((cell.masks & ~(0xfu << shift)) | (mask | before) << shift);
      read = now;
      kept = true;
    }
  }
  if (kept || distance(cell.read[0], now) <= distance(cell.read[0], cell.read[1])) return;
  cell.read[1] = now;
  cell.masks = uint8_t((cell.masks & 0xf) | mask << 4);
}

}  // namespace

// Whether a plain read of a cell can be passed over without its lock: nobody writes, and two blocks read.
inline bool Shadow::adds_nothing(const Cell& cell, unsigned mask) {
  const unsigned both = mask | mask << 4;
  return !cell.split && !is(cell.write) && is(cell.read[0]) && is(cell.read[1]) &&
         cell.read[0].block != cell.read[1].block && (cell.masks & both) == both;
}

inline __attribute__((always_inline)) bool Shadow::is_read_by_all(const char* address, size_t bytes) const {
  if (kind_ != Kind::buffers || address < first_ || address + bytes > last_) return false;
  const Cell& line = line_of(address);
  if (line.tag != tag_) return false;
  if (!line.split) return bytes == 16 && adds_nothing(line, 0xf);
  const size_t first = size_t(address - begin_);
  const Cell& word = words_[first / 4];
  return bytes <= 4 && word.tag == tag_ && adds_nothing(word, unsigned(((1u << bytes) - 1) << first % 4));
}

struct Shadow::Visit {
  Observed& self;
  const char* address;
  size_t bytes;
  unsigned how;
  const void* caller;
  Access now;
  size_t unwritten = 0;
};

inline __attribute__((always_inline)) void Shadow::touch(Visit& visit, Cell& cell, unsigned mask,
                                                         size_t of_bytes) {
  auto& [self, address, bytes, how, caller, now, unwritten] = visit;
  if (cell.tag == kBeside) report_outside(self, *this, how, address, bytes, caller);
  if (is(cell.write)) {
    if (!(now.atomic && cell.write.atomic) && !self.ordered(cell.write))
      report_race(self, *this, how, address, bytes, caller, cell.write,
                  kWrite | (cell.write.atomic ? kAtomic : 0u));
  } else if (kind_ != Kind::buffers) {
    unwritten += of_bytes;
  }
  if (!(how & kWrite)) return remember_read(cell, now, mask, self);
  for (unsigned k = 0; k < 2; ++k) {
    const Access& read = cell.read[k];
    if (is(read) && (cell.masks >> 4 * k & mask) && !(now.atomic && read.atomic) && !self.ordered(read))
      report_race(self, *this, how, address, bytes, caller, read, kRead | (read.atomic ? kAtomic : 0u));
  }
  cell.read[0] = cell.read[1] = {};
  cell.write = now;
}

__attribute__((noinline)) void Shadow::touch_bytes(Visit& visit, Cell& word, Cell* bytes, unsigned mask) {
  if (word.tag != kMixed && !word.split) split(word, bytes);
  // A byte's reads have no mask: they are of all of it.
  for (unsigned i = 0; i < 4; ++i)
    if (mask >> i & 1) touch(visit, fresh(bytes[i]), 1, 1);
}

inline __attribute__((always_inline)) void Shadow::access(Observed& self, const char* address, size_t bytes,
                                                          unsigned how, const void* caller, bool wide) {
  if (address < first_ || address + bytes > last_) report_outside(self, *this, how, address, bytes, caller);
  Visit visit{self, address, bytes, how, caller, {}};
  visit.now.time = self.time;
  visit.now.thread = self.thread;
  visit.now.block = self.block->number;
  visit.now.place = number_of(caller);
  visit.now.atomic = (how & kAtomic) != 0;
  Cell& line = line_of(address);
  if (line.tag == kBeside) report_outside(self, *this, how, address, bytes, caller);
  if (line.tag != kMixed) {
    const bool first = line.tag != tag_;
    fresh(line);
    if (bytes < 16 && !line.split) {
      Cell* words = &words_[size_t(address - begin_) / 16 * 4];
      if (!first) split(line, words);
      line.split = 1;
    }
  }
  if (line.tag != kMixed && !line.split) {
    touch(visit, line, 0xf, 16);
  } else {
    for_each_cell(address, bytes, [&](Cell& word, Cell* byte_cells, unsigned mask) {
      if (word.tag != kMixed) fresh(word);
      const bool whole = word.tag != kMixed && !word.split && (mask == 0xf || !(how & kWrite));
      if (whole) touch(visit, word, mask, size_t(__builtin_popcount(mask)));
      else touch_bytes(visit, word, byte_cells, mask);
    });
  }
  // Wide loads take along what nobody needs, like padding.
  if (kind_ != Kind::buffers && (how & (kRead | kBlind)) == kRead && visit.unwritten > (wide ? bytes - 1 : 0))
    report(self, describe(*this, how, address, bytes) + ", which no thread of the block has written", caller);
}

}  // namespace simt

// ---- What the compiler calls. Without, kernels are not watched, and ThreadSanitizer's own may be linked.
#ifndef RECIS_SIMT_UNWATCHED

namespace simt {
namespace {

inline Shadow* shadow_of(const Observed& self, const void* address) {
  Block& block = *self.block;
  if (block.buffers->covers(address)) return block.buffers;
  if (block.static_shared.covers(address)) return &block.static_shared;
  if (block.dynamic_shared.covers(address)) return &block.dynamic_shared;
  return nullptr;
}

inline bool is_aligned(const void* address, size_t bytes) {
  return reinterpret_cast<uintptr_t>(address) % std::min(bytes, size_t(8)) == 0;
}

[[noreturn]] void report_misaligned(const Observed& self, const Shadow& shadow, unsigned how,
                                    const void* address, size_t bytes, const void* caller) {
  report(self,
         "an access that is not aligned: " + describe(shadow, how, static_cast<const char*>(address), bytes),
         caller);
}

// Most accesses are to the thread's own variables, on its stack.
inline __attribute__((always_inline)) bool is_own(const void* address) {
  const auto frame = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  return (frame ^ reinterpret_cast<uintptr_t>(address)) < kStack || !observed;
}

inline __attribute__((always_inline)) void watch_part(Observed& self, Shadow& shadow,
                                                      const char* address, size_t bytes, unsigned how,
                                                      const void* caller, bool wide) {
  if (how == kRead && shadow.is_read_by_all(address, bytes)) return;
  shadow.lock(address);
  shadow.access(self, address, bytes, how, caller, wide);
  if (how == (kAtomic | kWrite)) shadow.set_stamp(address, bytes, self.released);
  shadow.unlock(address);
}

// `size` is 0 if it is only known at run time.
template <size_t size, unsigned how, bool aligned>
__attribute__((noinline)) void watch(const void* pointer, size_t run_size, const void* caller) {
  const size_t bytes = size ? size : run_size;
  Observed& self = *observed;
  Shadow* shadow = shadow_of(self, pointer);
  if (!shadow) return;
  self.settle();
  if (aligned && !is_aligned(pointer, bytes)) report_misaligned(self, *shadow, how, pointer, bytes, caller);
  auto address = static_cast<const char*>(pointer);
  size_t room = 16 - reinterpret_cast<uintptr_t>(address) % 16;
  if (size && bytes <= room) {
    watch_part(self, *shadow, address, size, how, caller, size > 8);
  } else {
    for (size_t done = 0; done < bytes; room = 16) {
      const size_t count = std::min(bytes - done, room);
      watch_part(self, *shadow, address + done, count, how, caller, bytes > 8);
      done += count;
    }
  }
  if (how == (kAtomic | kRead)) {
    self.awaited = address;
    self.awaited_bytes = bytes;
    self.awaited_shadow = shadow;
  }
}

// An atomic operation: `change` carries it out and says what it did.
template <class T, class F>
inline T atomic(const volatile void* pointer, const void* caller, F change) {
  auto address = const_cast<const char*>(static_cast<const volatile char*>(pointer));
  T* value = reinterpret_cast<T*>(const_cast<char*>(address));
  unsigned how = kAtomic;
  Shadow* shadow = observed ? shadow_of(*observed, address) : nullptr;
  if (!shadow) return change(value, how);
  Observed& self = *observed;
  self.settle();
  if (!is_aligned(address, sizeof(T))) report_misaligned(self, *shadow, how, address, sizeof(T), caller);
  shadow->lock(address);
  const T result = change(value, how);
  shadow->access(self, address, sizeof(T), how, caller, false);
  if (how & kWrite) shadow->set_stamp(address, sizeof(T), self.released);
  if (how & kRead) self.acquired = std::max(self.acquired, shadow->stamp(address, sizeof(T)));
  shadow->unlock(address);
  return result;
}

}  // namespace
}  // namespace simt

using namespace simt;

#define SIMT_CALLBACK(name, bytes, how, aligned)                                                        \
  extern "C" void __tsan_##name##bytes(void* p) {                                                       \
    if (!is_own(p)) watch<bytes, how, aligned>(p, bytes, __builtin_return_address(0));                  \
  }
#define SIMT_ACCESS(bytes)                                            \
  SIMT_CALLBACK(read, bytes, kRead, true)                             \
  SIMT_CALLBACK(write, bytes, kWrite, true)                           \
  SIMT_CALLBACK(volatile_read, bytes, kAtomic | kRead, true)          \
  SIMT_CALLBACK(volatile_write, bytes, kAtomic | kWrite, true)        \
  SIMT_CALLBACK(unaligned_read, bytes, kRead, false)                  \
  SIMT_CALLBACK(unaligned_write, bytes, kWrite, false)                \
  SIMT_CALLBACK(unaligned_volatile_read, bytes, kAtomic | kRead, false) \
  SIMT_CALLBACK(unaligned_volatile_write, bytes, kAtomic | kWrite, false)
SIMT_ACCESS(1)
SIMT_ACCESS(2)
SIMT_ACCESS(4)
SIMT_ACCESS(8)
SIMT_ACCESS(16)
#undef SIMT_ACCESS
#undef SIMT_CALLBACK

#define SIMT_UPDATE(T, bits, name)                                                        \
  extern "C" T __tsan_atomic##bits##_fetch_##name(volatile void* p, T value, int) {       \
    return atomic<T>(p, __builtin_return_address(0), [=](T* at, unsigned& how) {          \
      how |= kRead | kWrite;                                                              \
      return __atomic_fetch_##name(at, value, __ATOMIC_SEQ_CST);                          \
    });                                                                                   \
  }
#define SIMT_COMPARE(T, bits, strength)                                                                      \
  extern "C" int __tsan_atomic##bits##_compare_exchange_##strength(volatile void* p, T* expected, T desired, \
                                                                   int, int) {                               \
    return int(atomic<T>(p, __builtin_return_address(0), [=](T* at, unsigned& how) {                         \
      const bool done =                                                                                      \
          __atomic_compare_exchange_n(at, expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);     \
      how |= done ? kRead | kWrite : kRead;                                                                  \
      return T(done);                                                                                        \
    }));                                                                                                     \
  }
#define SIMT_ATOMIC(T, bits)                                                              \
  extern "C" T __tsan_atomic##bits##_load(const volatile void* p, int) {                  \
    return atomic<T>(p, __builtin_return_address(0), [](T* at, unsigned& how) {           \
      how |= kRead;                                                                       \
      return __atomic_load_n(at, __ATOMIC_SEQ_CST);                                       \
    });                                                                                   \
  }                                                                                       \
  extern "C" void __tsan_atomic##bits##_store(volatile void* p, T value, int) {           \
    atomic<T>(p, __builtin_return_address(0), [=](T* at, unsigned& how) {                 \
      how |= kWrite;                                                                      \
      __atomic_store_n(at, value, __ATOMIC_SEQ_CST);                                      \
      return value;                                                                       \
    });                                                                                   \
  }                                                                                       \
  extern "C" T __tsan_atomic##bits##_exchange(volatile void* p, T value, int) {           \
    return atomic<T>(p, __builtin_return_address(0), [=](T* at, unsigned& how) {          \
      how |= kRead | kWrite | kBlind;                                                     \
      return __atomic_exchange_n(at, value, __ATOMIC_SEQ_CST);                            \
    });                                                                                   \
  }                                                                                       \
  SIMT_UPDATE(T, bits, add)                                                               \
  SIMT_UPDATE(T, bits, sub)                                                               \
  SIMT_UPDATE(T, bits, and)                                                               \
  SIMT_UPDATE(T, bits, or)                                                                \
  SIMT_UPDATE(T, bits, xor)                                                               \
  SIMT_COMPARE(T, bits, strong)                                                           \
  SIMT_COMPARE(T, bits, weak)
SIMT_ATOMIC(uint8_t, 8)
SIMT_ATOMIC(uint16_t, 16)
SIMT_ATOMIC(uint32_t, 32)
SIMT_ATOMIC(uint64_t, 64)
#undef SIMT_ATOMIC
#undef SIMT_COMPARE
#undef SIMT_UPDATE

namespace {
void read_range(const void* p, size_t bytes, const void* caller) {
  if (!is_own(p)) watch<0, kRead, false>(p, bytes, caller);
}
void write_range(const void* p, size_t bytes, const void* caller) {
  if (!is_own(p)) watch<0, kWrite, false>(p, bytes, caller);
}
}  // namespace

extern "C" {
void __tsan_read_range(void* p, size_t bytes) { read_range(p, bytes, __builtin_return_address(0)); }
void __tsan_write_range(void* p, size_t bytes) { write_range(p, bytes, __builtin_return_address(0)); }
void* __tsan_memcpy(void* to, const void* from, size_t bytes) {
  read_range(from, bytes, __builtin_return_address(0));
  write_range(to, bytes, __builtin_return_address(0));
  return memcpy(to, from, bytes);
}
void* __tsan_memmove(void* to, const void* from, size_t bytes) {
  read_range(from, bytes, __builtin_return_address(0));
  write_range(to, bytes, __builtin_return_address(0));
  return memmove(to, from, bytes);
}
void* __tsan_memset(void* to, int value, size_t bytes) {
  write_range(to, bytes, __builtin_return_address(0));
  return memset(to, value, bytes);
}
void __tsan_atomic_thread_fence(int order) {
  if (order >= __ATOMIC_RELEASE) fence(true);
}
void __tsan_atomic_signal_fence(int) {}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void*, void*) {}
void __tsan_vptr_read(void*) {}
}

#endif
