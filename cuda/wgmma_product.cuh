// The inner product of large shapes on Hopper, whose tensor cores take both operands from shared memory.
#pragma once

#include "inner_product.cuh"

#ifdef RECIS_WGMMA

namespace recis {

// A tile as wgmma wants it: four k of eight lines lie together, 128 bytes. With a second part, each number
// is the sum of both (see SplitTerms). There is room between k so that a warp that stores, either way, meets
// every bank once.
template <int parts>
class CoreTile {
 public:
  __device__ __forceinline__ void put_along(int k, int line, const Pack<float>& values) {
    Pack<float> part[2];
#pragma unroll
    for (int j = 0; j < 4; ++j) split(values.value[j], part[0].value[j], part[1].value[j]);
#pragma unroll
    for (int i = 0; i < parts; ++i) *reinterpret_cast<Pack<float>*>(bytes_[i] + place(k, dealt(line))) = part[i];
  }
  __device__ __forceinline__ void put_across(int k, int line, const Pack<float>& values) {
    // Half of the lanes store the odd one of two lines first.
    const int odd = line / 16 % 2;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      float part[2];
      split(odd ? values.value[j ^ 1] : values.value[j], part[0], part[1]);
#pragma unroll
      for (int i = 0; i < parts; ++i)
        *reinterpret_cast<float*>(bytes_[i] + place(k, dealt(line) + j / 2 * kHalf + (j % 2 ^ odd))) = part[i];
    }
  }
  // Eight k of the dealt lines from a multiple of eight.
  __device__ __forceinline__ uint64_t describe(int part, int k, int at) const {
    return wgmma_operand(bytes_[part] + place(k, at), kAlong, kAcross);
  }

  // Lines are dealt so that two neighbours in each half of the tile are four neighbouring lines: those that
  // a thread has of a row of sums. And back.
  __device__ __forceinline__ static int dealt(int line) {
    return line / 2 % 2 * kHalf + line / 16 * 8 + line / 4 % 4 * 2 + line % 2;
  }
  __device__ __forceinline__ static int line_at(int at) {
    return at % kHalf / 8 * 16 + at / 2 % 4 * 4 + at / kHalf * 2 + at % 2;
  }

 private:
  static constexpr int kHalf = 64, kAcross = 8 * 16, kAlong = 2 * kHalf / 8 * kAcross + 32;

  __device__ __forceinline__ static void split(float x, float& high, float& low) {
    if constexpr (parts == 1) {
      high = __uint_as_float(to_tf32(x));
    } else {
      high = __uint_as_float(high_bits(x));
      low = x - high;
    }
  }
  __device__ __forceinline__ static int place(int k, int at) {
    return k / 4 * kAlong + at / 8 * kAcross + at % 8 * 16 + k % 4 * 4;
  }

  alignas(128) unsigned char bytes_[parts][4 * kAlong];
};

// Four warps own 64 x 128.
template <recis_precision precision>
class WgmmaProduct {
  static constexpr int kParts = precision == RECIS_FP32 ? 2 : 1;

 public:
  using A = CoreTile<kParts>;
  using B = CoreTile<kParts>;

  __device__ __forceinline__ void begin(const A& a, const B& b) {
    wgmma_begin();
    if constexpr (precision == RECIS_FP32) {
#pragma unroll
      for (int k = 0; k < 16; k += 8) {
        wgmma_tf32(part_, a.describe(1, k, first_row()), b.describe(0, k, 0), k > 0);
        wgmma_tf32(part_, a.describe(0, k, first_row()), b.describe(1, k, 0), true);
      }
    }
    float(&sums)[64] = precision == RECIS_FP32 ? part_ : sums_;
#pragma unroll
    for (int k = 0; k < 16; k += 8)
      wgmma_tf32(sums, a.describe(0, k, first_row()), b.describe(0, k, 0), true);
    wgmma_commit();
  }
  // Sums of the tensor cores are not rounded but cut: those of a step are added up outside.
  __device__ __forceinline__ void finish() {
    wgmma_wait();
    if constexpr (precision == RECIS_FP32) {
#pragma unroll
      for (int i = 0; i < 64; ++i) sums_[i] += part_[i];
    }
  }
  __device__ __forceinline__ static void publish() { wgmma_publish(); }

  __device__ __forceinline__ Pack<float> quad(int q) const {
    const int first = q / 2 * 4 + q % 2 * 2;
    return {sums_[first], sums_[first + 1], sums_[first + 32], sums_[first + 33]};
  }
  __device__ __forceinline__ static int row_of(int q) {
    return A::line_at(int(threadIdx.x) / 32 * 16 + q % 2 * 8 + int(threadIdx.x) % 32 / 4);
  }
  __device__ __forceinline__ static int column_of(int q) {
    return B::line_at(q / 2 * 8 + int(threadIdx.x) % 4 * 2);
  }

 private:
  __device__ __forceinline__ static int first_row() { return int(threadIdx.x) / 128 * 64; }

  float sums_[64] = {}, part_[64];
};

template <>
class InnerProduct<LargeShape<RECIS_FP32>> : public WgmmaProduct<RECIS_FP32> {};
template <>
class InnerProduct<LargeShape<RECIS_TF32>> : public WgmmaProduct<RECIS_TF32> {};

}  // namespace recis

#endif
