// From the lengths of rows to where each begins: one launch of one block for a small batch, device-wide
// sums for a large one.
#pragma once

#include "device_wide.cuh"

namespace recis {

constexpr int kOffsetsThreads = 1024;
// Rows of a thread in the one block, when there are more rows than threads.
constexpr int kOffsetsRows = 8;

// offsets[i + 1] = length(0) + ... + length(i) by all threads of a block, a warp `rows_a_thread` * 32 rows; there behind
// the barrier that follows.
template <int rows_a_thread, class T, class Length>
__device__ __forceinline__ void offsets_of_block(Length length, int64_t rows, T* offsets) {
  __shared__ T ends[32];
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const int64_t first = int64_t(warp) * rows_a_thread * 32 + lane;
  T sum[rows_a_thread];
#pragma unroll
  for (int k = 0; k < rows_a_thread; ++k) {
    const int64_t row = first + k * 32;
    sum[k] = row < rows ? T(length(row)) : T(0);
  }
  T end = 0;
#pragma unroll
  for (int k = 0; k < rows_a_thread; ++k) {
    for (unsigned step = 1; step < 32; step *= 2) {
      const T before = __shfl_up_sync(~0u, sum[k], step);
      if (lane >= step) sum[k] += before;
    }
    sum[k] += end;
    end = __shfl_sync(~0u, sum[k], 31);
  }
  if (lane == 31) ends[warp] = end;
  __syncthreads();
  T before = 0;
  for (unsigned other = 0; other < warps; ++other) before += other < warp ? ends[other] : T(0);
#pragma unroll
  for (int k = 0; k < rows_a_thread; ++k)
    if (first + k * 32 < rows) offsets[first + k * 32 + 1] = before + sum[k];
  if (threadIdx.x == 0) offsets[0] = 0;
}

template <int rows_a_thread, class T, class Length>
__global__ void __launch_bounds__(kOffsetsThreads) offsets_kernel(Length length, int64_t rows, T* offsets) {
  wait_for_stream();
  offsets_of_block<rows_a_thread>(length, rows, offsets);
}

// offsets[i + 1] = length(i).
template <class T, class Length>
__global__ void __launch_bounds__(kThreads) lengths_kernel(Length length, int64_t rows, T* offsets) {
  wait_for_stream();
  for (int64_t row = grid_thread(); row < rows; row += grid_threads()) offsets[row + 1] = T(length(row));
  if (grid_thread() == 0) offsets[0] = 0;
}

constexpr bool takes_one_block(int64_t rows) { return rows <= kOffsetsThreads * kOffsetsRows; }

// The scratch memory that offsets_of needs.
inline size_t offsets_bytes(int64_t rows) { return takes_one_block(rows) ? 0 : sum_bytes(rows); }

// Writes `offsets` [rows + 1] of rows of length(i) elements; `rows` is below 2^31.
template <class T, class Length>
int offsets_of(const char* op, Length length, int64_t rows, T* offsets, void* scratch, size_t scratch_bytes,
               recis_stream_t stream) {
  if (rows <= kOffsetsThreads) {
    const unsigned threads = rows > 0 ? unsigned(rows + 31) / 32 * 32 : 32;
    return launch(op, offsets_kernel<1, T, Length>, 1, threads, 0, stream, length, rows, offsets);
  }
  if (takes_one_block(rows))
    return launch(op, offsets_kernel<kOffsetsRows, T, Length>, 1, kOffsetsThreads, 0, stream, length, rows,
                  offsets);
  if (int status = launch(op, lengths_kernel<T, Length>, blocks_for(rows), kThreads, 0, stream, length, rows,
                          offsets))
    return status;
  return inclusive_sum(op, offsets + 1, offsets + 1, rows, scratch, scratch_bytes, stream);
}

}  // namespace recis
