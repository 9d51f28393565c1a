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

}  // namespace simt
