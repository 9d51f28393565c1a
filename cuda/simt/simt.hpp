// The part of CUDA C++ that our kernels use, for a host compiler: every thread of a block is a
// fiber, blocks are spread over OS threads. A test bed for logic and hazards; not for speed.
//
// What it catches, with the kernel's name, the threads and the place in the source:
// - a barrier or warp operation that part of its threads never reach, lanes that meet in different warp
//   operations, a shuffle from a lane that takes no part, a loop without end that calls recis::pause();
// - an access outside a buffer from recis_simt_allocate or outside dynamic shared memory, to the byte,
//   and one that is not aligned to its size (to 8 bytes, where it is larger);
// - shared memory that is read before a thread of the block has written it;
// - a race: two threads of a launch touch the same bytes, one at least writes, one at least with a plain
//   load or store, and nothing orders the two. A barrier orders the threads of a block, a warp operation
//   its lanes. What one thread wrote, and what was ordered before its __threadfence(), is published by an
//   atomic behind the fence to those that read the same place atomically, and to those ordered behind
//   them. Volatile accesses count as atomic. It needs no unlucky timing: the order is what counts.
//   It is stricter than CUDA in one thing: lanes that store to one place in one instruction race, even
//   with the same value. One lane is enough.
// What it cannot:
// - Two writers and two readers at most are remembered of a word, so a race can hide behind others.
// - A fence counts as published with any later atomic that its thread has written or that has seen
//   such a one, wherever; the reader needs no fence of its own, and every warp operation counts as
//   __syncwarp(), though on a device neither holds to the letter.
// - Shared memory: loads of more than 8 bytes need one written byte only, for padding's sake; an index
//   beyond a __shared__ array is not seen when it hits another one.
// - What wgmma reads of shared memory is not watched.
// - No load sees what a first-level cache has kept from before: __ldca is as __ldcv.
// - Memory that is not from recis_simt_allocate, memcpy() of sizes not known when compiling, blocks
//   beyond the 262144th, and a block's threads after two million synchronisations are not watched.
// - Buffers that are read before they are written: they begin as 0x5a bytes.
#pragma once

#include "../include/recis_simt.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
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

#define SIMT_VECTOR(T, name, bytes)                                                 \
  struct alignas(2 * bytes) name##2 { T x, y; };                                    \
  struct alignas(bytes >= 8 ? 16 : 4 * bytes) name##4 { T x, y, z, w; };            \
  constexpr name##2 make_##name##2(T x, T y) { return {x, y}; }                     \
  constexpr name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
SIMT_VECTOR(int, int, 4)
SIMT_VECTOR(unsigned, uint, 4)
SIMT_VECTOR(float, float, 4)
SIMT_VECTOR(double, double, 8)
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
enum class Meeting : int { sync, shuffle, shuffle_up, shuffle_down, shuffle_xor, vote, match, reduce, multiply };

// What the lanes of a meeting brought.
struct Lanes {
  unsigned mask;
  uint64_t value[32];
};
// Waits for the lanes in `mask`, and returns what each of them brought.
const Lanes& meet(Meeting meeting, unsigned mask, uint64_t value);
// What the tensor cores do, as cuda/ptx.cuh says.
void multiply_tf32(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
void multiply_bf16(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
struct Operand {
  const unsigned char* first;
  unsigned along, across;
};
void multiply_halves(float* sum, int count, Operand a, bool a_turned, Operand b, bool b_turned, bool is_bfloat,
                     bool add);
// A number as a half float, ties to even, and back.
uint32_t to_half(float x);
float from_half(uint32_t bits);
void block_barrier();
// A barrier that returns how many threads brought a predicate that holds.
int block_vote(bool predicate);
void yield();
// What this thread did so far goes before what it does from here on: for its block, or for all.
void fence(bool device);

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

// What the tests call besides recis_simt.h; src/ffi.rs says what these do.
extern "C" {
int64_t recis_simt_launches(const char* op);
int recis_simt_planted(const char* name);
void recis_simt_allow_races(int allow);
}

#define threadIdx (::simt::place().thread)
#define blockIdx (::simt::place().block)
#define blockDim (::simt::place().block_dim)
#define gridDim (::simt::place().grid_dim)
constexpr int warpSize = 32;

inline void __syncthreads() { simt::block_barrier(); }
inline int __syncthreads_count(int predicate) { return simt::block_vote(predicate != 0); }
inline int __syncthreads_or(int predicate) { return simt::block_vote(predicate != 0) > 0; }
inline int __syncthreads_and(int predicate) { return simt::block_vote(predicate == 0) == 0; }
inline void __nanosleep(unsigned) { simt::yield(); }
inline void __syncwarp(unsigned mask = ~0u) { simt::meet(simt::Meeting::sync, mask, 0); }
inline void __threadfence() { simt::fence(true); }
inline void __threadfence_block() { simt::fence(false); }
inline void __threadfence_system() { simt::fence(true); }
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
// T is int or unsigned.
namespace simt {
template <class T, class F>
T reduce(unsigned mask, T value, F combine) {
  static_assert(sizeof(T) == 4 && std::is_integral_v<T>);
  const auto& lanes = meet(Meeting::reduce, mask, to_bits(value));
  const unsigned first = unsigned(__builtin_ctz(lanes.mask));
  T all = from_bits<T>(lanes.value[first]);
  for (unsigned i = first + 1; i < 32; ++i)
    if (lanes.mask >> i & 1) all = combine(all, from_bits<T>(lanes.value[i]));
  return all;
}
}  // namespace simt
template <class T>
T __reduce_add_sync(unsigned mask, T value) {
  return simt::reduce(mask, value, [](T a, T b) { return T(unsigned(a) + unsigned(b)); });
}
template <class T>
T __reduce_min_sync(unsigned mask, T value) {
  return simt::reduce(mask, value, [](T a, T b) { return std::min(a, b); });
}
template <class T>
T __reduce_max_sync(unsigned mask, T value) {
  return simt::reduce(mask, value, [](T a, T b) { return std::max(a, b); });
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned value) {
  return simt::reduce(mask, value, [](unsigned a, unsigned b) { return a & b; });
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned value) {
  return simt::reduce(mask, value, [](unsigned a, unsigned b) { return a | b; });
}
inline unsigned __reduce_xor_sync(unsigned mask, unsigned value) {
  return simt::reduce(mask, value, [](unsigned a, unsigned b) { return a ^ b; });
}

// Atomics: relaxed, as on the device. T has 4 or 8 bytes. Inlined, so that reports say who called.
namespace simt {
template <class T, class F>
__forceinline__ T update(T* address, F change) {
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
__forceinline__ T atomicAdd(T* address, simt::same<T> value) {
  return simt::update(address, [=](T old) { return T(old + value); });
}
template <class T>
__forceinline__ T atomicSub(T* address, simt::same<T> value) {
  return simt::update(address, [=](T old) { return T(old - value); });
}
template <class T>
__forceinline__ T atomicXor(T* address, simt::same<T> value) {
  return simt::update(address, [=](T old) { return T(old ^ value); });
}
template <class T>
__forceinline__ T atomicMin(T* address, simt::same<T> value) {
  return simt::update(address, [=](T old) { return std::min(old, value); });
}
template <class T>
__forceinline__ T atomicMax(T* address, simt::same<T> value) {
  return simt::update(address, [=](T old) { return std::max(old, value); });
}
template <class T>
__forceinline__ T atomicOr(T* address, simt::same<T> value) {
  return simt::update(address, [=](T old) { return T(old | value); });
}
template <class T>
__forceinline__ T atomicAnd(T* address, simt::same<T> value) {
  return simt::update(address, [=](T old) { return T(old & value); });
}
template <class T>
__forceinline__ T atomicExch(T* address, simt::same<T> value) {
  T old;
  __atomic_exchange(address, &value, &old, __ATOMIC_RELAXED);
  return old;
}
template <class T>
__forceinline__ T atomicCAS(T* address, simt::same<T> expected, simt::same<T> desired) {
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
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= (x >> i & 1) << (31 - i);
  return reversed;
}
inline unsigned long long __brevll(unsigned long long x) {
  return uint64_t(__brev(unsigned(x))) << 32 | __brev(unsigned(x >> 32));
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return unsigned((uint64_t(high) << 32 | low) << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return unsigned((uint64_t(high) << 32 | low) >> (shift & 31));
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  if (selector & 0x8888) simt::fail("__byte_perm() selects from eight bytes");
  const uint64_t bytes = uint64_t(b) << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) result |= unsigned(bytes >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
  return result;
}

inline float __int_as_float(int x) { return simt::from_bits<float>(simt::to_bits(x)); }
inline int __float_as_int(float x) { return simt::from_bits<int>(simt::to_bits(x)); }
inline float __uint_as_float(unsigned x) { return simt::from_bits<float>(simt::to_bits(x)); }
inline unsigned __float_as_uint(float x) { return simt::from_bits<unsigned>(simt::to_bits(x)); }
inline double __longlong_as_double(long long x) { return simt::from_bits<double>(simt::to_bits(x)); }
inline long long __double_as_longlong(double x) { return simt::from_bits<long long>(simt::to_bits(x)); }

// Loads and stores with a wish for the caches: plain ones all the same.
template <class T>
__forceinline__ T __ldg(const T* address) { return *address; }
template <class T>
__forceinline__ T __ldcg(const T* address) { return *address; }
template <class T>
__forceinline__ T __ldcs(const T* address) { return *address; }
template <class T>
__forceinline__ T __ldlu(const T* address) { return *address; }
template <class T>
__forceinline__ void __stwb(T* address, simt::same<T> value) { *address = value; }
template <class T>
__forceinline__ void __stcg(T* address, simt::same<T> value) { *address = value; }
template <class T>
__forceinline__ void __stcs(T* address, simt::same<T> value) { *address = value; }

// Volatile ones of 16 bytes, in one access as on the device: another thread may be writing or reading.
namespace simt {
typedef long long Words __attribute__((vector_size(16), may_alias));
}
template <class T>
__forceinline__ T __ldcv(const T* address) {
  const simt::Words words = *reinterpret_cast<const volatile simt::Words*>(address);
  return __builtin_bit_cast(T, words);
}
template <class T>
__forceinline__ T __ldca(const T* address) { return __ldcv(address); }
template <class T>
__forceinline__ void __stwt(T* address, simt::same<T> value) {
  *reinterpret_cast<volatile simt::Words*>(address) = __builtin_bit_cast(simt::Words, value);
}

// Rounded once each: build.rs forbids the compiler to contract them.
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return std::sqrt(a); }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }

// Conversions end at the largest and smallest numbers; NaN becomes 0.
namespace simt {
template <class Integer, class Float>
Integer convert(Float rounded) {
  using limits = std::numeric_limits<Integer>;
  // The smallest number is a power of two or 0; one more than the largest is a power of two.
  const Float beyond = std::ldexp(Float(1), limits::digits);
  if (rounded != rounded) return 0;
  if (rounded >= beyond) return limits::max();
  return rounded < Float(limits::min()) ? limits::min() : Integer(rounded);
}
}  // namespace simt
inline int __float2int_rn(float x) { return simt::convert<int>(std::nearbyint(x)); }
inline int __float2int_rz(float x) { return simt::convert<int>(std::trunc(x)); }
inline int __float2int_rd(float x) { return simt::convert<int>(std::floor(x)); }
inline int __float2int_ru(float x) { return simt::convert<int>(std::ceil(x)); }
inline unsigned __float2uint_rn(float x) { return simt::convert<unsigned>(std::nearbyint(x)); }
inline unsigned __float2uint_rz(float x) { return simt::convert<unsigned>(std::trunc(x)); }
inline long long __float2ll_rn(float x) { return simt::convert<long long>(std::nearbyint(x)); }
inline long long __float2ll_rz(float x) { return simt::convert<long long>(std::trunc(x)); }
inline float __int2float_rn(int x) { return float(x); }
inline float __uint2float_rn(unsigned x) { return float(x); }
inline float __ll2float_rn(long long x) { return float(x); }
inline float __ull2float_rn(unsigned long long x) { return float(x); }
inline float __double2float_rn(double x) { return float(x); }
using std::max;
using std::min;
