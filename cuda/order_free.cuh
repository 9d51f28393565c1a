// Sums of a tile's gradient over the ids that share an embedding, the same in whatever order they are made: as
// whole numbers of 64 bits, in units of a power of two below the largest term, added to in memory.
//
// Of n terms that are at most 2^e, the units are 2^(e + log2 n - 62): a million of them have 42 bits below the largest
// possible one, where a float has 24 below itself. Where terms are less exact and few, two sums may share 64 bits,
// with units of 2^(e + log2 n - 30): memory adds twice as many. Lest small terms lose their bits there, they have sums
// of their own: classes, each for terms that are at most so many powers of two below those of the class before. Terms
// that are infinite or not numbers have sums of floats: there the order does not matter either.
#pragma once

#include "common.cuh"
#include "lookup.cuh"

namespace recis {

// In memory.
struct OrderFreeUnits {
  double unit;
  uint32_t largest;  // the bits of the largest term, if it is looked for
  bool in_pairs;     // whether two sums share 64 bits
  int class_log;     // if so, a class has units smaller by 2^class_log than the one before
};

constexpr int kMaxTiles = 16;

struct OrderFree {
  unsigned long long* sums;  // [copies, rows, dim], a row's columns as order_free_word() says; or in pairs
                             // [pair copies, classes, rows, dim / 2]; null: floats are added as they are, in an order
                             // that is each run's own
  OrderFreeUnits* units;
  const uint32_t* range;     // which embeddings are the tile's; null: all
  uint32_t unique;
  int dim;
  int log_terms;             // at most 2^log_terms terms a sum
  float* floats;             // [unique, dim] to which is added as it is: the gradient; with sums, what of it is not finite
};

// The embeddings that are a tile's, and how many copies their sums have: blocks that take turns among them wait less
// for each other where there are few. And how many if they are in pairs, and in how many classes.
struct OrderFreeRows {
  uint32_t first, count, copies, pair_copies, classes;
};
constexpr int64_t kSumsBytes = 3 << 20;
constexpr uint32_t kMostSums = 8, kMostClasses = 4, kMostPairs = 2 * kMostSums / kMostClasses;
__device__ __forceinline__ OrderFreeRows order_free_rows(const OrderFree& of) {
  uint32_t first = 0, count = of.unique;
  if (of.range) {
    first = min(of.range[0], of.unique);
    count = min(max(of.range[1], first), of.unique) - first;
  }
  const int64_t bytes = int64_t(max(count, 1u)) * of.dim * int64_t(sizeof(long long));
  const uint32_t copies = uint32_t(max(int64_t(1), min(kSumsBytes / bytes, int64_t(kMostSums))));
  const uint32_t classes = min(2 * copies, kMostClasses);
  return {first, count, copies, 2 * copies / classes, classes};
}
// A block's copy, and in pairs.
__device__ __forceinline__ unsigned long long* own_sums(const OrderFree& of, const OrderFreeRows& rows) {
  return of.sums + int64_t(blockIdx.x % rows.copies) * rows.count * of.dim;
}
__device__ __forceinline__ unsigned long long* own_pairs(const OrderFree& of, const OrderFreeRows& rows) {
  return of.sums + int64_t(blockIdx.x % rows.pair_copies) * rows.classes * (int64_t(rows.count) * (of.dim / 2));
}

// Where a column lies in its row. Of eight columns, lane q of four has 2q and 2q + 1, as the tensor cores deal them:
// what the lanes add at once is one sector.
__device__ __forceinline__ int order_free_word(int column, int dim) {
  const int first = column & ~7;
  return first + 8 > dim ? column : first + column % 2 * 4 + column % 8 / 2;
}

// The unit of 2^log_terms terms that are at most 2^log_largest in size, so that no sum has more bits than there are.
constexpr int kSumBits = 62, kPairBits = 30;
__device__ __forceinline__ double order_free_unit(int log_largest, int log_terms, int bits) {
  constexpr int kBias = 1023;
  return __longlong_as_double(int64_t(log_largest + log_terms - bits + kBias) << 52);
}

// Adds a term, in units. No kernel reads what it adds to: loads may go past it.
__device__ __forceinline__ void add_term(unsigned long long* sum, long long term) {
#ifdef RECIS_SIMT
  atomicAdd(sum, static_cast<unsigned long long>(term));
#else
  asm volatile("red.relaxed.gpu.global.add.u64 [%0], %1;" ::"l"(sum), "l"(term));
#endif
}

// Two sums in 64 bits: what the lower one borrows, it gives back.
__device__ __forceinline__ long long pair_of(int low, int high) {
  return (static_cast<long long>(high) << 32) + low;
}
__device__ __forceinline__ int low_of(unsigned long long pair) { return int(uint32_t(pair)); }
__device__ __forceinline__ int high_of(unsigned long long pair) {
  return int((static_cast<long long>(pair) - low_of(pair)) >> 32);
}

// Adds two neighbours to a gradient, in whatever order.
__device__ __forceinline__ void add_unordered(float* to, float2 terms) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("red.relaxed.gpu.global.add.v2.f32 [%0], {%1, %2};" ::"l"(to), "f"(terms.x), "f"(terms.y));
#else
  atomicAdd(to, terms.x);
  atomicAdd(to + 1, terms.y);
#endif
}

// The sums of several tiles of the same embeddings.
struct OrderFreeTiles {
  OrderFree of[kMaxTiles];
  int count;
};

// Cuts the memory of a tile's sums; those that are `unordered` are d_embeddings.
OrderFree order_free(Workspace& workspace, const recis_tile& tile, bool unordered, float* d_embeddings);
// Each enqueues its part: zeros for the sums; what a gradient d_x [rows, tile_len * dim] adds; and the sums to
// d_embeddings.
int clear_order_free(const char* op, const OrderFreeTiles& tiles, recis_stream_t stream);
int add_order_free(const char* op, const OrderFree& of, const recis_tile& tile, const float* d_x, recis_stream_t stream);
int finish_order_free(const char* op, const OrderFreeTiles& tiles, float* d_embeddings, recis_stream_t stream);

}  // namespace recis
