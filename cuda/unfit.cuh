// How a kernel reports a value that it must not be given.
#pragma once

#include "common.cuh"

namespace recis {

__device__ __forceinline__ bool is_finite(float value) {
  return (__float_as_int(value) & 0x7f800000) != 0x7f800000;
}

// Keeps the least row, and of its values the least bits.
__device__ __forceinline__ void report_unfit(uint64_t* unfit, int64_t row, float value) {
  const auto found = static_cast<unsigned long long>(row) << 32 | unsigned(__float_as_int(value));
  atomicMin(reinterpret_cast<unsigned long long*>(unfit), found);
}

// Rows must fit into 32 bits.
inline int require_reportable(int64_t rows, const char* op, const char* argument) {
  return require(rows <= int64_t(1) << 32, op, argument, "is above 2^32");
}

}  // namespace recis
