// What every launcher and kernel stands on: checks, the launch helper, wide loads, grid sizes.
#pragma once

#include "include/recis.h"

#ifdef RECIS_SIMT
#include "simt/simt.hpp"
#else
#include <cuda_runtime.h>
#endif

#include <cstdint>
#include <source_location>
#include <utility>

namespace recis {

using location = std::source_location;

// Remembers "op: subject problem" for recis_last_error() and returns `status`. An operation goes by
// its launcher's name: recis_modulo_forward is "modulo.forward".
int fail(recis_status status, const char* op, const char* subject, const char* problem, location where);

// RECIS_OK if what must hold of an argument does.
inline int require(bool holds, const char* op, const char* argument, const char* problem,
                   location where = location::current()) {
  return holds ? RECIS_OK : fail(RECIS_INVALID_ARGUMENT, op, argument, problem, where);
}

// Why a pointer cannot hold `count` elements, if so: it must be aligned, and null only if there are none.
inline const char* problem_of_array(const void* pointer, int64_t count) {
  return count < 0                                         ? "has a negative size"
         : count > 0 && !pointer                           ? "is null"
         : reinterpret_cast<uintptr_t>(pointer) % 16 != 0 ? "is not aligned to 16 bytes"
                                                           : nullptr;
}
// RECIS_OK if it can.
inline int require_array(const void* pointer, int64_t count, const char* op, const char* argument,
                         location where = location::current()) {
  const char* problem = problem_of_array(pointer, count);
  return require(!problem, op, argument, problem, where);
}

// The first of several statuses that is not RECIS_OK. Checks are cheap: all are made.
template <class... Status>
int first_of(Status... status) {
  int first = RECIS_OK;
  ((first = first == RECIS_OK ? status : first), ...);
  return first;
}

// Waits a little for another thread. Every loop that waits must call it.
__device__ __forceinline__ void pause() {
#ifdef RECIS_SIMT
  simt::yield();
#else
  __nanosleep(32);
#endif
}

// The block's dynamic shared memory.
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
#ifdef RECIS_SIMT
  return static_cast<T*>(simt::place().dynamic_shared);
#else
  extern __shared__ __align__(128) unsigned char memory[];
  return reinterpret_cast<T*>(memory);
#endif
}

// Waits until what is before the kernel on its stream has finished. Every kernel begins so: see launch().
__device__ __forceinline__ void wait_for_stream() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

#ifndef RECIS_SIMT
// Whether the current device has kernels that wait_for_stream(), and its driver knows such launches in graphs
// too. Made for older devices, kernels do not wait.
bool kernels_wait();
// Whether the current device runs kernels that were made for Hopper's own instructions.
bool kernels_have_wgmma();
#endif

// Enqueues a kernel, whose blocks are in clusters of so many. The only place that launches. Where kernels wait
// themselves, the device begins a kernel as soon as it has room, not after the one before has ended: that saves most of
// what a launch costs.
template <class... Parameters, class... Arguments>
int launch_clusters(unsigned cluster, const char* op, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                    size_t shared_bytes, recis_stream_t stream, Arguments&&... arguments) {
#ifdef RECIS_SIMT
  (void)stream, (void)cluster;
  auto run = [&] { kernel(Parameters(arguments)...); };
  auto thread = [](void* run_once) { (*static_cast<decltype(run)*>(run_once))(); };
  simt::launch(op, grid, block, shared_bytes, thread, &run);
  return RECIS_OK;
#else
  // What a kernel gets without asking for more.
  constexpr size_t kUsualShared = 48 << 10;
  cudaError_t error = cudaSuccess;
  if (shared_bytes > kUsualShared)
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes));
  cudaLaunchAttribute attributes[2]{};
  unsigned count = 0;
  if (cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count++].val.clusterDim = {cluster, 1, 1};
  }
  if (kernels_wait()) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = count;
  if (error == cudaSuccess)
    error = cudaLaunchKernelEx(&config, kernel, Parameters(std::forward<Arguments>(arguments))...);
  if (error == cudaSuccess) return RECIS_OK;
  cudaGetLastError();  // so that the next launch does not report it
  return fail(RECIS_CUDA_ERROR, op, "launch failed:", cudaGetErrorString(error), location::current());
#endif
}

// The same without clusters.
template <class... Parameters, class... Arguments>
int launch(const char* op, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
           recis_stream_t stream, Arguments&&... arguments) {
  return launch_clusters(1, op, kernel, grid, block, shared_bytes, stream, std::forward<Arguments>(arguments)...);
}

constexpr int kThreads = 256;

// As many blocks as there is work for: each ends soon, and leaves its room to what is more urgent.
constexpr int64_t kNoLimit = INT32_MAX;

// Blocks of kThreads that give `count` work items a thread each, at most `limit`: beyond, threads
// loop. Eight blocks on each multiprocessor are all its threads; more would cost what they take to begin and end, even
// where there is less to do than there might be.
inline unsigned blocks_for(int64_t count, int64_t limit = 132 * 8) {
  int64_t blocks = (count + kThreads - 1) / kThreads;
  return static_cast<unsigned>(blocks < 1 ? 1 : blocks > limit ? limit : blocks);
}

// The thread's number in the grid, and the number of threads: for loops over more items than there
// are threads.
__device__ __forceinline__ int64_t grid_thread() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ __forceinline__ int64_t grid_threads() { return int64_t(gridDim.x) * blockDim.x; }

// Where a segment's elements are, kept within 0..capacity whatever the offsets hold.
struct Segment {
  int64_t begin, end;
};
__device__ __forceinline__ Segment segment_of(const int32_t* offsets, int64_t row, int64_t capacity) {
  const int64_t first = offsets[row], last = offsets[row + 1];
  const int64_t begin = first < 0 ? 0 : first > capacity ? capacity : first;
  return {begin, last < begin ? begin : last > capacity ? capacity : last};
}

// How many of `capacity` elements there are: all if `count` is null.
__device__ __forceinline__ int64_t bounded(const uint32_t* count, int64_t capacity) {
  return count && *count < capacity ? int64_t(*count) : capacity;
}

// Which range of ascending `offsets` [ranges + 1] a place lies in: the last one that begins at or
// before it and is not empty.
template <class T>
__device__ __forceinline__ uint32_t range_of(const T* offsets, int64_t ranges, T place) {
  int64_t low = 0, high = ranges;  // offsets[low] <= place < offsets[high]
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (offsets[middle] <= place ? low : high) = middle;
  }
  return uint32_t(low);
}

// Cuts a workspace into arrays aligned to 16 bytes. Without memory it only adds up what they need.
class Workspace {
 public:
  explicit Workspace(void* memory = nullptr) : memory_(static_cast<char*>(memory)) {}

  template <class T>
  T* take(int64_t count) {
    T* array = memory_ ? reinterpret_cast<T*>(memory_ + bytes_) : nullptr;
    bytes_ += (size_t(count) * sizeof(T) + 15) / 16 * 16;
    return array;
  }
  size_t bytes() const { return bytes_; }

 private:
  char* memory_;
  size_t bytes_ = 0;
};

// RECIS_OK if a workspace is there, aligned, and large enough.
inline int require_workspace(const void* workspace, size_t bytes, size_t needed, const char* op,
                             location where = location::current()) {
  if (needed == 0) return RECIS_OK;
  if (bytes < needed) return fail(RECIS_WORKSPACE_TOO_SMALL, op, "workspace", "is too small", where);
  return require_array(workspace, 1, op, "workspace", where);
}

// 16 bytes of T, moved by one instruction.
template <class T>
struct alignas(16) Pack {
  static constexpr int size = 16 / sizeof(T);
  T value[size];
};

}  // namespace recis
