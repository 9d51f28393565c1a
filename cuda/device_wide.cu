#include "device_wide.cuh"

#ifdef RECIS_SIMT
#include <numeric>
#include <vector>
#else
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>
#endif

namespace recis {
namespace {

#ifdef RECIS_SIMT

int sort(const char*, const uint32_t* keys, uint32_t* keys_out, const uint32_t* values, uint32_t* values_out,
         int64_t count, int bits, void*, size_t, recis_stream_t) {
  const uint32_t mask = bits >= 32 ? ~0u : (1u << bits) - 1;
  std::vector<int64_t> order(size_t(count), 0);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return (keys[a] & mask) < (keys[b] & mask); });
  for (int64_t i = 0; i < count; ++i) {
    keys_out[i] = keys[order[size_t(i)]];
    values_out[i] = values[order[size_t(i)]];
  }
  return RECIS_OK;
}

template <class T>
int sum(const char*, const T* in, T* out, int64_t count, void*, size_t, recis_stream_t) {
  std::partial_sum(in, in + count, out);
  return RECIS_OK;
}

#else

int checked(const char* op, cudaError_t error) {
  if (error == cudaSuccess) return RECIS_OK;
  return fail(RECIS_CUDA_ERROR, op, "launch failed:", cudaGetErrorString(error), location::current());
}

int sort(const char* op, const uint32_t* keys, uint32_t* keys_out, const uint32_t* values, uint32_t* values_out,
         int64_t count, int bits, void* scratch, size_t scratch_bytes, recis_stream_t stream) {
  return checked(op, cub::DeviceRadixSort::SortPairs(scratch, scratch_bytes, keys, keys_out, values, values_out,
                                                     int(count), 0, bits, stream));
}

template <class T>
int sum(const char* op, const T* in, T* out, int64_t count, void* scratch, size_t scratch_bytes,
        recis_stream_t stream) {
  return checked(op, cub::DeviceScan::InclusiveSum(scratch, scratch_bytes, in, out, int(count), stream));
}

#endif

}  // namespace

int require_device(const char* op) {
#ifdef RECIS_SIMT
  (void)op;
  return RECIS_OK;
#else
  int device = 0;
  const cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) return RECIS_OK;
  cudaGetLastError();  // so that the next launch does not report it
  return fail(RECIS_CUDA_ERROR, op, "the device cannot be asked:", cudaGetErrorString(error),
              location::current());
#endif
}

size_t sort_pairs_bytes(int64_t count) {
#ifdef RECIS_SIMT
  return size_t(count > 0);
#else
  size_t bytes = 0;
  const uint32_t* in = nullptr;
  uint32_t* out = nullptr;
  cub::DeviceRadixSort::SortPairs(nullptr, bytes, in, out, in, out, int(count));
  return bytes;
#endif
}

int sort_pairs(const char* op, const uint32_t* keys, uint32_t* keys_out, const uint32_t* values,
               uint32_t* values_out, int64_t count, int bits, void* scratch, size_t scratch_bytes,
               recis_stream_t stream) {
  if (count == 0) return RECIS_OK;
  return sort(op, keys, keys_out, values, values_out, count, bits, scratch, scratch_bytes, stream);
}

size_t sum_bytes(int64_t count) {
#ifdef RECIS_SIMT
  return size_t(count > 0);
#else
  size_t bytes = 0;
  cub::DeviceScan::InclusiveSum(nullptr, bytes, static_cast<const int64_t*>(nullptr),
                                static_cast<int64_t*>(nullptr), int(count));
  return bytes;
#endif
}

int inclusive_sum(const char* op, const int64_t* in, int64_t* out, int64_t count, void* scratch,
                  size_t scratch_bytes, recis_stream_t stream) {
  if (count == 0) return RECIS_OK;
  return sum(op, in, out, count, scratch, scratch_bytes, stream);
}

int inclusive_sum(const char* op, const uint32_t* in, uint32_t* out, int64_t count, void* scratch,
                  size_t scratch_bytes, recis_stream_t stream) {
  if (count == 0) return RECIS_OK;
  return sum(op, in, out, count, scratch, scratch_bytes, stream);
}

}  // namespace recis
