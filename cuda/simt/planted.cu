// Kernels with one mistake each: the test bed's own tests run them and look at what it says.
#include "common.cuh"

namespace recis {
namespace {

__global__ void missing_barrier(int* out) {
  if (threadIdx.x < 40) __syncthreads();
  out[threadIdx.x] = 1;
}

__global__ void divergent_shuffle(int* out) {
  out[threadIdx.x] = threadIdx.x % 2 ? __shfl_sync(~0u, 1, 0) : __shfl_xor_sync(~0u, 1, 1);
}

__global__ void shuffle_from_nobody(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xffffu, 1, 20);
}

__global__ void out_of_bounds(int* out) { out[0] = out[64 + threadIdx.x]; }

// Into the gap between the buffer's first page and the buffer.
__global__ void write_beside(int* out) { out[-1] = 1; }

__global__ void endless_wait(int* out) {
  while (reinterpret_cast<volatile int*>(out)[0] == 0) pause();
}

// Right: what the others should look like.
__global__ void sound(int* out) {
  __shared__ int shared[64];
  shared[threadIdx.x] = int(threadIdx.x);
  __syncthreads();
  int sum = shared[63 - threadIdx.x];
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(~0u, sum, distance);
  if (threadIdx.x % 32 == 0) atomicAdd(&out[0], sum);
}

}  // namespace
}  // namespace recis

// Runs a kernel by name on 64 ints that begin as 0, four blocks of 64 threads; returns the first int,
// -1 if there is no such kernel.
extern "C" int recis_simt_planted(const char* name) {
  using namespace recis;
  int* memory = static_cast<int*>(recis_simt_allocate(64 * sizeof(int)));
  memset(memory, 0, 64 * sizeof(int));
  bool found = false;
  const struct {
    const char* name;
    void (*kernel)(int*);
  } kernels[] = {
      {"missing_barrier", missing_barrier}, {"divergent_shuffle", divergent_shuffle},
      {"shuffle_from_nobody", shuffle_from_nobody}, {"out_of_bounds", out_of_bounds},
      {"endless_wait", endless_wait}, {"write_beside", write_beside},
      {"sound", sound}};
  for (auto& planted : kernels)
    if (!strcmp(planted.name, name)) {
      found = true;
      launch(planted.name, planted.kernel, 4, 64, 0, nullptr, memory);
    }
  const int first = found ? memory[0] : -1;
  recis_simt_release(memory);
  return first;
}
