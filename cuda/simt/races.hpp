// What the parts of the test bed know of each other: runtime.cpp runs the threads, memory.cpp holds the
// buffers, races.cpp watches the accesses, places.cpp finds them in the source; multiply.cpp is the tensor
// cores.
#pragma once

#include "simt.hpp"

#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace simt {

constexpr size_t kPage = 4096;
// A fiber's stack, which begins at a multiple of this: so an address is seen to be on it.
constexpr size_t kStack = 128 << 10;

// One access, as the checker remembers it. Times count the synchronisations of a block; 0 is no access.
struct Access {
  uint64_t time : 21, thread : 10, block : 18, place : 14, atomic : 1;
};
constexpr uint32_t kTimes = 1 << 21, kBlocks = 1 << 18, kThreadsOfBlock = 1 << 10;

// What the checker remembers of a line of 16 bytes, as long as all accesses are to all of it; else of a
// word; or of a byte, where threads write parts of words.
struct Cell {
  std::atomic<uint8_t> lock;  // a line's, for all within
  uint8_t masks;              // four bits for each of `read`: which bytes of the word it was
  uint16_t tag : 14;          // which launch or block left this; others' is void
  uint16_t split : 1;         // the words of this line, or the bytes of this word, have cells of their own
  uint32_t stamp;             // the last fence before an atomic write
  Access write, read[2];
};
static_assert(sizeof(Cell) == 32);

struct Observed;

// Cells for a range of addresses.
class Shadow {
 public:
  enum class Kind { buffers, static_shared, dynamic_shared };

  // False if there is no address space for the cells of `bytes` bytes.
  bool map(Kind kind, size_t bytes);
  // The addresses it is for: as many as it was mapped for, of which those before `first` and from
  // `last` on are nobody's.
  void cover(char* begin, char* first, char* last);
  // From here on, accesses so far are forgotten. False if the marks of `forbid` are, too.
  bool next();
  // Marks bytes around a buffer as nobody's, or takes the marks away.
  void forbid(char* first, char* last, bool forbidden);

  bool covers(const void* address) const {
    return size_t(static_cast<const char*>(address) - begin_) < bytes_;
  }
  // Takes note of an access within 16 bytes; `wide` if it is part of one of more than 8 bytes.
  void access(Observed& self, const char* address, size_t bytes, unsigned how, const void* caller, bool wide);
  // The latest fence before an atomic write to any of the bytes.
  uint32_t stamp(const char* address, size_t bytes);
  void set_stamp(const char* address, size_t bytes, uint32_t stamp);
  // For the 16 bytes that an address lies in. Only buffers need it: a block has one OS thread.
  void lock(const char* address) {
    if (kind_ != Kind::buffers) return;
    std::atomic<uint8_t>& lock = line_of(address).lock;
    if (lock.exchange(1, std::memory_order_acquire)) wait_for(lock);
  }
  void unlock(const char* address) {
    if (kind_ != Kind::buffers) return;
    line_of(address).lock.store(0, std::memory_order_release);
  }
  // Whether one more plain load there would teach nothing. Looks without the lock: at worst a race is
  // missed.
  bool is_read_by_all(const char* address, size_t bytes) const;
  Kind kind() const { return kind_; }
  size_t offset(const char* address) const { return size_t(address - first_); }

 private:
  struct Visit;
  static void wait_for(std::atomic<uint8_t>& lock);
  template <class F>
  void for_each_cell(const char* address, size_t bytes, F f);
  void touch(Visit& visit, Cell& cell, unsigned mask, size_t bytes);
  void touch_bytes(Visit& visit, Cell& word, Cell* bytes, unsigned mask);
  Cell& line_of(const char* address) const { return lines_[size_t(address - begin_) / 16]; }
  Cell& fresh(Cell& cell) const;
  void split(Cell& cell, Cell* parts) const;
  static bool adds_nothing(const Cell& cell, unsigned mask);

  Kind kind_ = Kind::buffers;
  char *begin_ = nullptr, *first_ = nullptr, *last_ = nullptr;
  size_t bytes_ = 0;
  Cell *lines_ = nullptr, *words_ = nullptr, *byte_cells_ = nullptr;
  unsigned tag_ = 0;
};

// The fences of a launch: an access is published once its thread, or one ordered behind it in the
// block, has come to a fence.
class Fences {
 public:
  // Remembers a fence and returns its stamp; stamps ascend.
  uint32_t add(const Observed& thread, bool device);
  // Whether a fence numbered at most `stamp` lies behind the access.
  bool cover(const Access& access, uint32_t stamp, bool same_block);

 private:
  // Covers accesses up to `time`. Both ascend in a log.
  struct Fence {
    uint32_t time, stamp;
  };
  // Fences of the whole device are the only ones that count for other blocks.
  struct Log {
    std::vector<Fence> any, device;
  };
  struct OfBlock {
    Log of_all;
    std::vector<Log> of_thread;
  };
  static void push(Log& log, bool device, Fence fence);

  std::mutex mutex_;
  uint32_t stamp_ = 0;
  std::unordered_map<uint32_t, OfBlock> blocks_;
};

struct Launch {
  const char* kernel;
  dim3 grid, block;
  Fences fences;
  // False from where the checker's numbers do not suffice.
  std::atomic<bool> watched{true};
  // For tests of contents that no rule allows: then only memory safety counts.
  bool races_allowed = false;
};

// The block that an OS thread runs.
struct Block {
  Launch* launch = nullptr;
  uint32_t number = 0, threads = 0;
  uint32_t now = 1;      // ascends with every synchronisation of any of its threads
  uint32_t barrier = 1;  // when the last barrier was
  Shadow* buffers = nullptr;
  Shadow static_shared, dynamic_shared;

  void begin(Launch& launch, uint32_t number, uint32_t threads);
  uint32_t tick();
};

// What the checker knows of a running thread.
struct Observed {
  Block* block;
  uint32_t thread;
  uint32_t time;       // when it last synchronised
  uint32_t known[32];  // up to when it knows what each lane of its warp did
  uint32_t released;   // its last fence
  uint32_t acquired;   // up to which fence it sees what was published
  const char* awaited;  // what its last volatile load read
  size_t awaited_bytes;
  Shadow* awaited_shadow;

  void begin(Block& block, uint32_t thread);
  // Takes in what the last volatile load has seen: the checker is called before the load.
  void settle() {
    if (awaited) settle_awaited();
  }
  void settle_awaited();
  bool ordered(const Access& access) const;
};

// A library that is loaded late finds no room for all its threads' storage at fixed distances; a program
// does, and is faster so.
#ifdef RECIS_SIMT_LIBRARY
#define SIMT_FAST_TLS
#else
#define SIMT_FAST_TLS __attribute__((tls_model("initial-exec")))
#endif

// The running thread; null outside kernels. Fibers do not change their OS thread.
extern constinit thread_local Observed* observed SIMT_FAST_TLS;

// Lanes of a warp, or all threads of a block, have met.
void join_lanes(Observed* const* lanes, unsigned count);
template <class F>
void join_block(Block& block, F observed_of) {
  uint32_t acquired = 0;
  for (unsigned i = 0; i < block.threads; ++i) {
    observed_of(i).settle();
    acquired = std::max(acquired, observed_of(i).acquired);
  }
  block.barrier = block.tick();
  for (unsigned i = 0; i < block.threads; ++i) {
    observed_of(i).time = block.barrier;
    observed_of(i).acquired = acquired;
  }
}

// Where the calling OS thread's `__shared__` variables are.
struct Range {
  char* begin;
  size_t bytes;
};
Range static_shared();

// `bytes` (whole pages) of memory between two pages without access; null if there is none.
void* map_guarded(size_t bytes);
// The shadow of all buffers.
Shadow& buffers();
// Forgets the accesses to buffers so far.
void begin_launch();
// ", 8 bytes from the begin of a buffer of 256" for an address in or around one.
std::string buffer_of(const void* address);

// "cuda/adamw.cu:30, in adamw_kernel" for what a call returns to.
std::string place_of(const void* caller);

// Blocks on other OS threads may be at fault too: the first one reports, and ends the program.
void begin_report();

}  // namespace simt
