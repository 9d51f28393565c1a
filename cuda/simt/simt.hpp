// The part of CUDA C++ that our kernels use, for a host compiler: every thread of a block is a
// fiber, blocks are spread over OS threads. A test bed for logic and hazards; not for speed.
//
// What it catches, with the kernel's name and the threads: a barrier or warp operation that part of
// its threads never reach, lanes that meet in different warp operations, a shuffle from a lane that
// takes no part, an access outside a buffer from recis_simt_allocate, a loop without end that calls
// recis::pause(). What it cannot: shared memory that is read before it is written, races on plain
// loads and stores, reads of the few bytes between a buffer and the ends of its pages.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
// A block runs on one OS thread at a time, so that thread's storage is the block's.
#define __shared__ static thread_local

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

#define SIMT_VECTOR(T, name, bytes)                     \
  struct alignas(2 * bytes) name##2 { T x, y; };        \
  struct alignas(bytes >= 8 ? 16 : 4 * bytes) name##4 { T x, y, z, w; };
SIMT_VECTOR(int, int, 4)
SIMT_VECTOR(unsigned, uint, 4)
SIMT_VECTOR(float, float, 4)
SIMT_VECTOR(long long, longlong, 8)
SIMT_VECTOR(unsigned long long, ulonglong, 8)
#undef SIMT_VECTOR

namespace simt {

// What a thread of a running kernel knows about itself.
struct Place {
  dim3 thread, block, block_dim, grid_dim;
  unsigned linear;  // the thread's number in its block
  void* dynamic_shared;
};
const Place& place();

// Runs `entry(args)` once per thread of the grid and returns when all have finished.
void launch(const char* kernel, dim3 grid, dim3 block, size_t shared_bytes, void (*entry)(void*), void* args);

// Which warp operation lanes meet in; lanes that meet must agree.
enum class Meeting : int { sync, shuffle, shuffle_up, shuffle_down, shuffle_xor, vote, match, reduce };

// What the lanes of a meeting brought.
struct Lanes {
  unsigned mask;
  uint64_t value[32];
};
// Waits for the lanes in `mask`, and returns what each of them brought.
const Lanes& meet(Meeting meeting, unsigned mask, uint64_t value);
void block_barrier();
void yield();

[[noreturn]] void fail(const char* what);

template <class T>
uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <class T>
T from_bits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

inline unsigned lane() { return place().linear % 32; }

template <class T>
T from_lane(const Lanes& lanes, unsigned source) {
  if (!(lanes.mask >> source & 1)) fail("a shuffle reads a lane that takes no part in it");
  return from_bits<T>(lanes.value[source]);
}

}  // namespace simt

// What the tests call; src/ffi.rs says what these do.
extern "C" {
void* recis_simt_allocate(size_t bytes);
void recis_simt_release(void* memory);
int64_t recis_simt_launches(const char* op);
int recis_simt_planted(const char* name);
}

#define threadIdx (::simt::place().thread)
#define blockIdx (::simt::place().block)
#define blockDim (::simt::place().block_dim)
#define gridDim (::simt::place().grid_dim)
constexpr int warpSize = 32;

inline void __syncthreads() { simt::block_barrier(); }
inline void __syncwarp(unsigned mask = ~0u) { simt::meet(simt::Meeting::sync, mask, 0); }
inline void __threadfence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
inline void __threadfence_block() { __threadfence(); }
inline unsigned __activemask() { simt::fail("__activemask() says nothing reliable"); }

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const auto& lanes = simt::meet(simt::Meeting::shuffle, mask, simt::to_bits(value));
  unsigned base = simt::lane() / width * width;
  return simt::from_lane<T>(lanes, base + unsigned(source) % width);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32) {
  const auto& lanes = simt::meet(simt::Meeting::shuffle_xor, mask, simt::to_bits(value));
  unsigned lane = simt::lane(), source = lane ^ unsigned(lane_mask);
  return source / width == lane / width ? simt::from_lane<T>(lanes, source) : value;
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const auto& lanes = simt::meet(simt::Meeting::shuffle_up, mask, simt::to_bits(value));
  unsigned lane = simt::lane();
  return lane % width >= delta ? simt::from_lane<T>(lanes, lane - delta) : value;
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const auto& lanes = simt::meet(simt::Meeting::shuffle_down, mask, simt::to_bits(value));
  unsigned lane = simt::lane();
  return lane % width + delta < unsigned(width) ? simt::from_lane<T>(lanes, lane + delta) : value;
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  const auto& lanes = simt::meet(simt::Meeting::vote, mask, predicate != 0);
  unsigned votes = 0;
  for (unsigned i = 0; i < 32; ++i) votes |= unsigned(lanes.mask >> i & 1 && lanes.value[i]) << i;
  return votes;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }
template <class T>
unsigned __match_any_sync(unsigned mask, T value) {
  const auto& lanes = simt::meet(simt::Meeting::match, mask, simt::to_bits(value));
  unsigned same = 0;
  for (unsigned i = 0; i < 32; ++i)
    same |= unsigned(lanes.mask >> i & 1 && lanes.value[i] == simt::to_bits(value)) << i;
  return same;
}
inline unsigned __reduce_add_sync(unsigned mask, unsigned value) {
  const auto& lanes = simt::meet(simt::Meeting::reduce, mask, value);
  unsigned sum = 0;
  for (unsigned i = 0; i < 32; ++i) sum += lanes.mask >> i & 1 ? unsigned(lanes.value[i]) : 0;
  return sum;
}

// Atomics: relaxed, as on the device. T has 4 or 8 bytes.
namespace simt {
template <class T, class F>
T update(T* address, F change) {
  T old;
  __atomic_load(address, &old, __ATOMIC_RELAXED);
  T next = change(old);
  while (!__atomic_compare_exchange(address, &old, &next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
    next = change(old);
  return old;
}
template <class T>
using same = std::type_identity_t<T>;
}  // namespace simt
template <class T>
T atomicAdd(T* address, simt::same<T> value) {
  return simt::update(address, [=](T old) { return T(old + value); });
}
template <class T>
T atomicMin(T* address, simt::same<T> value) {
  return simt::update(address, [=](T old) { return std::min(old, value); });
}
template <class T>
T atomicMax(T* address, simt::same<T> value) {
  return simt::update(address, [=](T old) { return std::max(old, value); });
}
template <class T>
T atomicOr(T* address, simt::same<T> value) {
  return simt::update(address, [=](T old) { return T(old | value); });
}
template <class T>
T atomicAnd(T* address, simt::same<T> value) {
  return simt::update(address, [=](T old) { return T(old & value); });
}
template <class T>
T atomicExch(T* address, simt::same<T> value) { return simt::update(address, [=](T) { return value; }); }
template <class T>
T atomicCAS(T* address, simt::same<T> expected, simt::same<T> desired) {
  __atomic_compare_exchange(address, &expected, &desired, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(static_cast<unsigned long long>(x)) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline float __int_as_float(int x) { return simt::from_bits<float>(simt::to_bits(x)); }
inline int __float_as_int(float x) { return simt::from_bits<int>(simt::to_bits(x)); }
inline double __longlong_as_double(long long x) { return simt::from_bits<double>(simt::to_bits(x)); }
inline long long __double_as_longlong(double x) { return simt::from_bits<long long>(simt::to_bits(x)); }
template <class T>
T __ldg(const T* address) { return *address; }
template <class T>
T __ldcs(const T* address) { return *address; }
template <class T>
void __stwb(T* address, simt::same<T> value) { *address = value; }
template <class T>
void __stcs(T* address, simt::same<T> value) { *address = value; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double x) { return std::sqrt(x); }
using std::max;
using std::min;
