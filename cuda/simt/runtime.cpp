// Fibers and meetings behind simt.hpp.
#include "races.hpp"

#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <ucontext.h>
#include <unistd.h>
#include <vector>
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

namespace simt {
namespace {

// ThreadSanitizer, if it watches the host's threads (kernels are not watched then), must be told of fibers.
class Sanitizer {
 public:
#ifdef __SANITIZE_THREAD__
  void is_current() { fiber_ = __tsan_get_current_fiber(); }
  void create() { fiber_ = __tsan_create_fiber(0); }
  void switch_to() { __tsan_switch_to_fiber(fiber_, 0); }

 private:
  void* fiber_ = nullptr;
#else
  void is_current() {}
  void create() {}
  void switch_to() {}
#endif
};

constexpr int kSecondsWithoutEnd = 120;
constexpr size_t kMostDynamicShared = 227 << 10;

int seconds_without_end() {
  const char* seconds = getenv("RECIS_SIMT_SECONDS");
  return seconds ? atoi(seconds) : kSecondsWithoutEnd;
}

struct Job : Launch {
  size_t shared_bytes;
  void (*entry)(void*);
  void* args;
  std::atomic<uint64_t> next_block{0};
};

enum class State { running, in_barrier, in_meeting, finished };

// One thread of a block. Fibers outlive the block and run thread after thread.
struct Fiber {
  jmp_buf context;
  bool started = false;
  char* stack = nullptr;
  State state = State::finished;
  Place place;
  Meeting meeting;
  unsigned mask = 0;
  uint64_t value = 0;
  bool votes = false;  // in a barrier: whether `value` is a vote
  Lanes lanes;
  Observed observed;
  Sanitizer sanitizer;

  // Whether both are in the same warp operation.
  bool waits_with(const Fiber& other) const {
    return state == State::in_meeting && other.state == State::in_meeting && meeting == other.meeting &&
           mask == other.mask;
  }
};

char* map_stack() {
  const size_t bytes = 2 * kStack + kPage;
  void* map = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) fail("no memory for a stack");
  // With a page at least before it, and one behind.
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(map) + kStack) / kStack * kStack;
  char* stack = reinterpret_cast<char*>(begin);
  if (mprotect(stack, kStack, PROT_READ | PROT_WRITE)) fail("no memory for a stack");
  return stack;
}

// Runs blocks on one OS thread.
struct Worker {
  Job* job = nullptr;
  std::vector<std::unique_ptr<Fiber>> fibers;
  Fiber* current = nullptr;
  jmp_buf scheduler;
  Sanitizer sanitizer;
  unsigned threads = 0;
  int votes = 0;  // how many held in the last barrier with a vote
  Block block;
  // Ends against a page without access, as buffers do.
  char* shared_end = nullptr;

  void run(Job& job);
  void map_shared();
  char* dynamic_shared();
  void run_block(uint64_t number);
  void resume(Fiber& fiber);
  bool release_waiting();
  bool complete_meeting(unsigned warp);
  [[noreturn]] void report_stuck();
};

thread_local Worker* worker = nullptr;

void switch_to_scheduler() {
  Fiber* self = worker->current;
  if (_setjmp(self->context) == 0) {
    worker->sanitizer.switch_to();
    _longjmp(worker->scheduler, 1);
  }
}

void fiber_main() {
  for (;;) {
    Job& job = *worker->job;
    job.entry(job.args);
    worker->current->state = State::finished;
    switch_to_scheduler();
  }
}

void Worker::resume(Fiber& fiber) {
  current = &fiber;
  observed = job->watched.load(std::memory_order_relaxed) ? &fiber.observed : nullptr;
  if (_setjmp(scheduler) == 0) {
    sanitizer.is_current();
    if (!fiber.started) fiber.sanitizer.create();
    fiber.sanitizer.switch_to();
    if (fiber.started) _longjmp(fiber.context, 1);
    fiber.started = true;
    // Guarded, so that an overflow is seen.
    fiber.stack = map_stack();
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = fiber.stack;
    context.uc_stack.ss_size = kStack;
    context.uc_link = nullptr;
    makecontext(&context, fiber_main, 0);
    setcontext(&context);
  }
  current = nullptr;
  observed = nullptr;
}

void Worker::run(Job& new_job) {
  job = &new_job;
  worker = this;
  const uint64_t blocks = uint64_t(job->grid.x) * job->grid.y * job->grid.z;
  threads = job->block.x * job->block.y * job->block.z;
  while (fibers.size() < threads) fibers.push_back(std::make_unique<Fiber>());
  map_shared();
  for (uint64_t block; (block = job->next_block.fetch_add(1)) < blocks;) run_block(block);
  worker = nullptr;
}

void Worker::map_shared() {
  const Range range = static_shared();
  const size_t pages = (kMostDynamicShared + kPage - 1) / kPage * kPage;
  if (!shared_end) {
    void* map = map_guarded(pages);
    if (!map || !block.static_shared.map(Shadow::Kind::static_shared, range.bytes + 16) ||
        !block.dynamic_shared.map(Shadow::Kind::dynamic_shared, pages + kPage))
      fail("no memory for shared memory");
    shared_end = static_cast<char*>(map) + kPage + pages;
  }
  char* line = range.begin - reinterpret_cast<uintptr_t>(range.begin) % 16;
  block.static_shared.cover(line, range.begin, range.begin + range.bytes);
  char* first = dynamic_shared();
  block.dynamic_shared.cover(shared_end - pages, first, first + job->shared_bytes);
}

char* Worker::dynamic_shared() { return shared_end - (job->shared_bytes + 15) / 16 * 16; }

void Worker::run_block(uint64_t number) {
  const dim3 grid = job->grid, size = job->block;
  const dim3 place_of_block(unsigned(number % grid.x), unsigned(number / grid.x % grid.y),
                            unsigned(number / grid.x / grid.y));
  char* shared = dynamic_shared();
  // What the last block left must not look like a value this one wrote.
  std::fill(shared, shared_end, char(0xcd));
  block.begin(*job, uint32_t(std::min(number, uint64_t(kBlocks))), threads);
  for (unsigned i = 0; i < threads; ++i) {
    Fiber& fiber = *fibers[i];
    fiber.state = State::running;
    fiber.place.thread = dim3(i % size.x, i / size.x % size.y, i / size.x / size.y);
    fiber.place.block = place_of_block;
    fiber.place.block_dim = size;
    fiber.place.grid_dim = grid;
    fiber.place.linear = i;
    fiber.place.dynamic_shared = shared;
    fiber.observed.begin(block, i);
  }
  const time_t begin = time(nullptr);
  do {
    bool progress = true;
    while (progress) {
      progress = false;
      for (unsigned i = 0; i < threads; ++i)
        if (fibers[i]->state == State::running) resume(*fibers[i]), progress = true;
      // Warps that have met go on, though others may still run: these may be waiting for them in a loop.
      for (unsigned warp = 0; progress && warp * 32 < threads; ++warp)
        while (complete_meeting(warp)) {}
      if (time(nullptr) - begin > seconds_without_end()) report_stuck();
    }
  } while (release_waiting());
}

// Nobody can run: lets those go on who have all they wait for. False when the block is finished.
bool Worker::release_waiting() {
  unsigned finished = 0, in_barrier = 0;
  bool released = false;
  for (unsigned i = 0; i < threads; ++i) {
    finished += fibers[i]->state == State::finished;
    in_barrier += fibers[i]->state == State::in_barrier;
  }
  if (finished == threads) return false;
  if (in_barrier == threads) {
    votes = 0;
    for (unsigned i = 0; i < threads; ++i) {
      if (fibers[i]->votes != fibers[0]->votes)
        fail("some threads are in __syncthreads, others in a form of it that votes");
      votes += fibers[i]->votes && fibers[i]->value;
      fibers[i]->state = State::running;
    }
    join_block(block, [&](unsigned i) -> Observed& { return fibers[i]->observed; });
    return true;
  }
  for (unsigned warp = 0; warp * 32 < threads; ++warp)
    while (complete_meeting(warp)) released = true;
  if (!released) report_stuck();
  return true;
}

bool Worker::complete_meeting(unsigned warp) {
  const unsigned first = warp * 32, last = std::min(threads, first + 32);
  for (unsigned i = first; i < last; ++i) {
    Fiber& fiber = *fibers[i];
    if (fiber.state != State::in_meeting) continue;
    if (!(fiber.mask >> (i - first) & 1)) fail("a thread calls a warp operation whose mask leaves it out");
    // Lanes beyond the end of the block do not exist; full masks name them all the same.
    const unsigned exist = last - first == 32 ? ~0u : (1u << (last - first)) - 1;
    const unsigned wanted = fiber.mask & exist;
    unsigned there = 0;
    for (unsigned lane = 0; lane < last - first; ++lane) {
      const Fiber& other = *fibers[first + lane];
      there |= unsigned(other.waits_with(fiber)) << lane;
    }
    if ((there & wanted) != wanted) continue;
    Lanes lanes{wanted, {}};
    for (unsigned lane = 0; lane < last - first; ++lane) lanes.value[lane] = fibers[first + lane]->value;
    Observed* met[32];
    unsigned count = 0;
    for (unsigned lane = 0; lane < last - first; ++lane)
      if (wanted >> lane & 1) {
        fibers[first + lane]->lanes = lanes;
        fibers[first + lane]->state = State::running;
        met[count++] = &fibers[first + lane]->observed;
      }
    join_lanes(met, count);
    return true;
  }
  return false;
}

void Worker::report_stuck() {
  begin_report();
  // In the order of Meeting.
  static const char* const names[] = {"__syncwarp",      "__shfl_sync", "__shfl_up_sync",   "__shfl_down_sync",
                                      "__shfl_xor_sync", "a vote",      "__match_any_sync", "a __reduce_.._sync",
                                      "an mma"};
  const dim3 block = fibers[0]->place.block;
  fprintf(stderr, "simt: kernel %s, block (%u, %u, %u): some threads wait for others that never come\n",
          job->kernel, block.x, block.y, block.z);
  for (unsigned i = 0, shown = 0; i < threads && shown < 64; ++shown) {
    const Fiber& fiber = *fibers[i];
    unsigned end = i + 1;
    auto same = [&](const Fiber& other) {
      return fiber.state == State::in_meeting ? other.waits_with(fiber) : other.state == fiber.state;
    };
    while (end < threads && same(*fibers[end])) ++end;
    fprintf(stderr, "  threads %u..%u: ", i, end - 1);
    switch (fiber.state) {
      case State::running: fprintf(stderr, "run without end\n"); break;
      case State::in_barrier: fprintf(stderr, "in __syncthreads\n"); break;
      case State::in_meeting:
        fprintf(stderr, "in %s with mask %08x\n", names[int(fiber.meeting)], fiber.mask);
        break;
      case State::finished: fprintf(stderr, "have returned\n"); break;
    }
    i = end;
  }
  abort();
}

// Launches by operation, and one kernel at a time: what one stream on a device gives.
std::mutex launch_mutex;
std::map<std::string, int64_t>& launches() {
  static std::map<std::string, int64_t> launches;
  return launches;
}

thread_local bool races_allowed = false;

struct sigaction previous_action;

// Says where a kernel touched memory that is not its own. Not async-signal-safe to the letter; the
// program ends here anyway.
void on_fault(int number, siginfo_t* info, void* context) {
  if (!worker || !worker->current) {
    sigaction(SIGSEGV, &previous_action, nullptr);
    return;  // the instruction faults again, under whatever handler there was
  }
  begin_report();
  const Place& p = worker->current->place;
  char* address = static_cast<char*>(info->si_addr);
  fprintf(stderr, "simt: kernel %s, block (%u, %u, %u), thread (%u, %u, %u): access to %p", worker->job->kernel,
          p.block.x, p.block.y, p.block.z, p.thread.x, p.thread.y, p.thread.z, static_cast<void*>(address));
  char* stack = worker->current->stack;
  if (address >= stack - kPage && address < stack) fprintf(stderr, ", its stack has overflowed");
  fprintf(stderr, "%s\n", buffer_of(address).c_str());
  (void)number, (void)context;
  abort();
}

void watch_faults() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &previous_action);
  });
}

// A stack for the fault handler: a fiber's own may be what has overflowed.
struct FaultStack {
  std::vector<char> memory = std::vector<char>(64 << 10);
  stack_t previous = {};
  FaultStack() {
    stack_t stack = {};
    stack.ss_sp = memory.data();
    stack.ss_size = memory.size();
    sigaltstack(&stack, &previous);
  }
  ~FaultStack() { sigaltstack(&previous, nullptr); }
};

}  // namespace

void begin_report() {
  static std::atomic_flag begun;
  while (begun.test_and_set()) pause();
}

const Place& place() { return worker->current->place; }

void block_barrier() {
  worker->current->votes = false;
  worker->current->state = State::in_barrier;
  switch_to_scheduler();
}

int block_vote(bool predicate) {
  worker->current->votes = true;
  worker->current->value = predicate;
  worker->current->state = State::in_barrier;
  switch_to_scheduler();
  return worker->votes;
}

const Lanes& meet(Meeting meeting, unsigned mask, uint64_t value) {
  Fiber& self = *worker->current;
  self.meeting = meeting;
  self.mask = mask;
  self.value = value;
  self.state = State::in_meeting;
  switch_to_scheduler();
  return self.lanes;
}

void yield() { switch_to_scheduler(); }

void fail(const char* what) {
  begin_report();
  if (worker && worker->current) {
    const Place& p = worker->current->place;
    fprintf(stderr, "simt: kernel %s, block (%u, %u, %u), thread (%u, %u, %u): %s\n", worker->job->kernel,
            p.block.x, p.block.y, p.block.z, p.thread.x, p.thread.y, p.thread.z, what);
  } else if (worker) {
    fprintf(stderr, "simt: kernel %s: %s\n", worker->job->kernel, what);
  } else {
    fprintf(stderr, "simt: %s\n", what);
  }
  abort();
}

void launch(const char* kernel, dim3 grid, dim3 block, size_t shared_bytes, void (*entry)(void*), void* args) {
  static std::vector<std::unique_ptr<Worker>> workers;
  std::lock_guard lock(launch_mutex);
  watch_faults();
  ++launches()[kernel];
  if (uint64_t(block.x) * block.y * block.z > kThreadsOfBlock) fail("a block has more than 1024 threads");
  if (shared_bytes > kMostDynamicShared) fail("a block has more than 227 KiB of shared memory");
  begin_launch();
  Job job{{kernel, grid, block, {}, true, races_allowed}, shared_bytes, entry, args};
  const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
  const uint64_t cores = std::max(2u, std::thread::hardware_concurrency());
  const unsigned count = unsigned(std::min(cores, blocks));
  while (workers.size() < count) workers.push_back(std::make_unique<Worker>());
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < count; ++i)
    threads.emplace_back([&job, i] {
      FaultStack stack;
      workers[i]->run(job);
    });
  for (auto& thread : threads) thread.join();
}

}  // namespace simt

using namespace simt;

extern "C" void recis_simt_allow_races(int allow) { races_allowed = allow; }

extern "C" int64_t recis_simt_launches(const char* op) {
  std::lock_guard lock(launch_mutex);
  return launches()[op];
}
