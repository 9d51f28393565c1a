// What the tensor cores do, lane by lane: cuda/ptx.cuh says which lane has which elements.
#include "simt.hpp"

namespace simt {
namespace {

struct Operands {
  const uint32_t *a, *b;
};

// Both are the upper bits of an f32.
float tf32(uint32_t bits) { return from_bits<float>(bits & 0xffffe000u); }
float bf16(uint32_t pair, int half) { return from_bits<float>(half ? pair & 0xffff0000u : pair << 16); }

// `a(operands, row, k)` and `b(operands, k, column)` find elements among what the lanes brought.
template <class A, class B>
void multiply(float (&sum)[4], const uint32_t* own_a, const uint32_t* own_b, int depth, A a, B b) {
  const Operands own{own_a, own_b};
  const Lanes lanes = meet(Meeting::multiply, ~0u, reinterpret_cast<uintptr_t>(&own));
  const auto of = [&](int lane) { return *reinterpret_cast<const Operands*>(uintptr_t(lanes.value[lane])); };
  const int g = int(lane()) / 4, t = int(lane()) % 4;
  for (int i = 0; i < 4; ++i) {
    const int row = g + i / 2 * 8, column = 2 * t + i % 2;
    double products = 0;
    for (int k = 0; k < depth; ++k) products += double(a(of, row, k)) * double(b(of, k, column));
    sum[i] = float(double(sum[i]) + products);
  }
  // Until then other lanes read what this one brought.
  meet(Meeting::multiply, ~0u, 0);
}

}  // namespace

void multiply_tf32(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  multiply(sum, a, b, 8,
           [](auto of, int row, int k) { return tf32(of(row % 8 * 4 + k % 4).a[row / 8 + k / 4 * 2]); },
           [](auto of, int k, int column) { return tf32(of(column * 4 + k % 4).b[k / 4]); });
}

void multiply_bf16(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  multiply(sum, a, b, 16,
           [](auto of, int row, int k) {
             return bf16(of(row % 8 * 4 + k % 8 / 2).a[row / 8 + k / 8 * 2], k % 2);
           },
           [](auto of, int k, int column) { return bf16(of(column * 4 + k % 8 / 2).b[k / 8], k % 2); });
}

uint32_t to_half(float x) {
  const uint32_t bits = to_bits(x), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return sign | 0x7fffu;
  if (size >= 0x477ff000u) return sign | 0x7c00u;  // rounds to 2^16 or more
  // Adding 2^13 times the number's own power of two, at least that of the smallest normal one, rounds it.
  const float base = from_bits<float>(std::max(size & 0x7f800000u, 0x38800000u) + (13u << 23));
  const float rounded = (from_bits<float>(size) + base) - base;
  if (size < 0x38800000u && rounded < 0x1p-14f) return sign | uint32_t(rounded * 0x1p24f);
  return sign | (uint32_t(to_bits(rounded)) - 0x38000000u) >> 13;
}

float from_half(uint32_t bits) {
  const uint32_t sign = (bits & 0x8000u) << 16, size = bits & 0x7fffu;
  if (size >= 0x7c00u) return from_bits<float>(sign | 0x7f800000u | (size & 0x3ffu) << 13);
  const float fraction = float(size & 0x3ffu);
  const float power = from_bits<float>((size & 0x7c00u) * 0x2000u + 0x38000000u);
  return std::copysign(size >= 0x400u ? power * (1 + fraction * 0x1p-10f) : fraction * 0x1p-24f,
                       from_bits<float>(sign));
}

void multiply_halves(float* sum, int count, Operand a, bool a_turned, Operand b, bool b_turned, bool is_bfloat,
                     bool add) {
  constexpr int kDepth = 16;
  const auto read = [=](Operand of, bool turned, int line, float* values) {
    for (int i = 0; i < kDepth; ++i) {
      const int inside = turned ? i % 8 * 16 + line % 8 * 2 : line % 8 * 16 + i % 8 * 2;
      uint16_t bits;
      std::memcpy(&bits, of.first + i / 8 * of.along + line / 8 * of.across + inside, sizeof bits);
      values[i] = is_bfloat ? from_bits<float>(uint32_t(bits) << 16) : from_half(bits);
    }
  };
  const int warp = int(place().linear) / 32 % 4, row = warp * 16 + int(lane()) / 4, column = int(lane()) % 4 * 2;
  float rows[2][kDepth], columns[kDepth];
  for (int i = 0; i < 2; ++i) read(a, a_turned, row + 8 * i, rows[i]);
  for (int i = 0; i < count; ++i) {
    read(b, b_turned, column + i / 4 * 8 + i % 2, columns);
    double products = 0;
    for (int k = 0; k < kDepth; ++k) products += double(rows[i / 2 % 2][k]) * double(columns[k]);
    sum[i] = float((add ? double(sum[i]) : 0.0) + products);
  }
}

}  // namespace simt
