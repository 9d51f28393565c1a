// Sums in pairs (order_free.cuh) that a block keeps in shared memory and hands on when it is done: of a small table,
// whose rows come again and again. That saves most of what memory would have to add. A block has fewer terms than all
// have: what is left of 32 bits is for smaller units, and so for terms of several classes.
#pragma once

#include "order_free.cuh"

namespace recis {

class BlockSums {
 public:
  // In memory of some words for every column of all rows; a multiple of 32.
  __device__ __forceinline__ explicit BlockSums(void* words) : words_(static_cast<uint32_t*>(words)) {}
  __host__ __device__ static int64_t words(int64_t rows, int dim) { return (rows * dim + 31) / 32 * 32; }

  // By all threads of a block; others may use it behind the block's next barrier.
  __device__ __forceinline__ void clear(int64_t words) {
    for (int64_t i = threadIdx.x; i < words; i += blockDim.x) words_[i] = 0;
  }

  // Where lane q of four has the first of its two columns of the eight at `offset`: 2q and 2q + 1.
  __device__ __forceinline__ static uint32_t place(uint32_t offset, int q) { return place_of(offset + q); }
  // Adds terms, in units, to the two columns of the `unit`th eight from there on, in the same 32.
  __device__ __forceinline__ void add(uint32_t place, uint32_t unit, int low, int high) {
    const uint32_t at = place ^ unit * 8;
    atomicAdd(words_ + at, uint32_t(low));
    atomicAdd(words_ + (at ^ 4), uint32_t(high));
  }

  // Adds them to sums in memory, where `pairs` of each class are in the same order; by thread `thread` of so many. They
  // are in the units of class `from`, 2^class_log below those of the class before: each class gets what those before
  // it are too coarse for.
  __device__ __forceinline__ void hand_on(unsigned long long* sums, uint32_t pairs, int from, int class_log, int thread,
                                          int threads) const {
    for (uint32_t pair = thread; pair < pairs; pair += threads) {
      const uint32_t at = place_of(pair / 4 * 8 + pair % 4);
      int low = int(words_[at]), high = int(words_[at ^ 4]);
      for (int which = from; low != 0 || high != 0; --which) {
        const int own_low = which > 0 ? cut(low, class_log) : low, own_high = which > 0 ? cut(high, class_log) : high;
        add_term(sums + (uint32_t(which) * pairs + pair), pair_of(own_low, own_high));
        if (which == 0) break;
        low = (low - own_low) >> class_log, high = (high - own_high) >> class_log;
      }
    }
  }

 private:
  // Of eight columns, the first word of each pair comes before all second ones. Four neighbours change places with
  // others of their 32, which differ from 32 to 32: rows that threads add to at once are in different banks.
  __device__ __forceinline__ static uint32_t place_of(uint32_t word) { return word ^ (word >> 3 & 28); }

  // Of a number's lowest bits, what is nearest to it but for multiples of 2^bits.
  __device__ __forceinline__ static int cut(int number, int bits) {
    return int(uint32_t(number) << (32 - bits)) >> (32 - bits);
  }

  uint32_t* words_;
};

}  // namespace recis
