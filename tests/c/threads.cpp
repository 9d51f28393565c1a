// Threads of one process on the library at once: a table each, one table in turns, and errors of their own.
// `threads --without-turns` breaks the rule, for ThreadSanitizer to see.
#include "../../examples/c/memory.h"
#include "recis.hpp"

#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int64_t kIds = 700;
constexpr int kRounds = 6;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "wrong: %s\n", what);
  std::exit(1);
}

class Stream {
 public:
#ifdef RECIS_SIMT
  recis_stream_t get() const { return nullptr; }
  void wait() const {}
#else
  Stream() { require(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking) == cudaSuccess, "a stream"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  recis_stream_t get() const { return stream_; }
  void wait() const { require(cudaStreamSynchronize(stream_) == cudaSuccess, "the stream's work"); }

 private:
  cudaStream_t stream_ = nullptr;
#endif
};

// What a thread brings to a call: its ids, and room for what it gets.
struct Batch {
  explicit Batch(int64_t first) : ids(kIds) {
    std::iota(ids.begin(), ids.end(), first);
    const uint32_t offsets[] = {0, uint32_t(kIds)};
    d_ids = static_cast<int64_t*>(to_device(ids.data(), kIds * sizeof(int64_t)));
    d_offsets = static_cast<uint32_t*>(to_device(offsets, sizeof(offsets)));
    d_rows = static_cast<uint32_t*>(to_device(nullptr, kIds * sizeof(uint32_t)));
    d_new_ids = static_cast<uint32_t*>(to_device(nullptr, kIds * sizeof(uint32_t)));
    d_new_count = static_cast<uint32_t*>(to_device(nullptr, sizeof(uint32_t)));
  }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;
  ~Batch() {
    for (void* memory : {static_cast<void*>(d_ids), static_cast<void*>(d_offsets), static_cast<void*>(d_rows),
                         static_cast<void*>(d_new_ids), static_cast<void*>(d_new_count)})
      device_release(memory);
  }

  recis::Ids span() const { return {{d_ids, kIds}, {d_offsets, 2}}; }
  uint32_t insert(recis::HashTable& table, const Stream& stream) {
    table.find_or_insert(span(), {d_rows, kIds}, {d_new_ids, kIds}, {d_new_count, 1}, stream.get());
    stream.wait();
    uint32_t count;
    to_host(&count, d_new_count, sizeof(count));
    return count;
  }

  std::vector<int64_t> ids;
  int64_t* d_ids;
  uint32_t *d_offsets, *d_rows, *d_new_ids, *d_new_count;
};

// A call that is refused: its message is this thread's.
void fail_in_own_words(int thread) {
  for (int round = 0; round < 1000; ++round) {
    const int status = thread == 0 ? recis_modulo_forward(nullptr, 1, 3, nullptr, nullptr)
                                   : recis_relu_forward(nullptr, -1, nullptr, nullptr);
    require(status == RECIS_INVALID_ARGUMENT, "the call is refused");
    const std::string own = thread == 0 ? "modulo.forward: the input is null" : "relu.forward: the input has";
    require(std::string(recis_last_error()).compare(0, own.size(), own) == 0, "the message is another's");
  }
}

// Each with its own table and stream.
void own_table(int thread) {
  Stream stream;
  recis::HashTable table(kIds / 2, stream.get());
  Batch batch(thread * 100000);
  for (int round = 0; round < kRounds; ++round) {
    table.reserve(kIds, stream.get());
    require(batch.insert(table, stream) == kIds, "all ids are new");
    require(batch.insert(table, stream) == 0, "no id is new twice");
    table.erase(batch.span(), stream.get());
  }
  stream.wait();
  fail_in_own_words(thread);
}

// One table, by turns.
struct Turns {
  std::mutex mutex;
  std::condition_variable changed;
  int turn = 0;

  template <class F>
  void take(int thread, F f) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return turn % 2 == thread; });
    f();
    ++turn;
    changed.notify_all();
  }
};

void shared_table(int thread, recis::HashTable& table, Turns& turns) {
  Stream stream;
  for (int round = 0; round < kRounds; ++round)
    turns.take(thread, [&] {
      Batch batch((2 * round + thread) * kIds / 2);  // half of it is the other's last
      table.reserve((2 * round + thread + 2) * kIds, stream.get());
      const uint32_t fresh = batch.insert(table, stream);
      require(fresh == (round == 0 && thread == 0 ? kIds : kIds / 2), "half of the ids are new");
    });
}

void erase_without_turns(int thread, recis::HashTable& table) {
  Stream stream;
  Batch batch(thread * kIds);
  for (int round = 0; round < 50; ++round) table.erase(batch.span(), stream.get());
  stream.wait();
}

template <class F>
void in_two_threads(F f) {
  std::thread first(f, 0), second(f, 1);
  first.join();
  second.join();
}

}  // namespace

int main(int count, char** arguments) try {
  in_two_threads(own_table);
  Stream stream;
  recis::HashTable table(16, stream.get());
  stream.wait();
  Turns turns;
  in_two_threads([&](int thread) { shared_table(thread, table, turns); });
  if (count > 1 && std::string(arguments[1]) == "--without-turns")
    in_two_threads([&](int thread) { erase_without_turns(thread, table); });
  std::printf("threads: a table each, and one in turns\n");
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
