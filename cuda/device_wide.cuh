// Sorts and sums over whole arrays: CUB's, apart from everything else because its headers take long to
// compile. In SIMT mode they are the standard library's.
#pragma once

#include "common.cuh"

namespace recis {

// RECIS_OK if there is a device to ask how much scratch memory it needs; else the sizes below mean nothing.
int require_device(const char* op);

// The scratch memory that sort_pairs needs for `count` keys.
size_t sort_pairs_bytes(int64_t count);

// Sorts values by the lowest `bits` bits of their keys; equal keys stay in order. `count` is below
// 2^31. Inputs are left as they are.
int sort_pairs(const char* op, const uint32_t* keys, uint32_t* keys_out, const uint32_t* values,
               uint32_t* values_out, int64_t count, int bits, void* scratch, size_t scratch_bytes,
               recis_stream_t stream);

// The scratch memory that the sums need for `count` elements.
size_t sum_bytes(int64_t count);

// out[i] = in[0] + ... + in[i]. `out` may be `in`.
int inclusive_sum(const char* op, const int64_t* in, int64_t* out, int64_t count, void* scratch,
                  size_t scratch_bytes, recis_stream_t stream);
int inclusive_sum(const char* op, const uint32_t* in, uint32_t* out, int64_t count, void* scratch,
                  size_t scratch_bytes, recis_stream_t stream);

}  // namespace recis
