// Kernels with one mistake each: the test bed's own tests run them and look at what it says.
#include "common.cuh"

namespace recis {
namespace {

__global__ void missing_barrier(int* out) {
  if (threadIdx.x < 40) __syncthreads();
  if (blockIdx.x == 0) out[threadIdx.x] = 1;  // or the blocks would race, which may be noticed first
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

// Reads what lies around the buffer, a byte of it or of the dynamic shared memory.
__global__ void read_beside(int* out) { out[0] = out[-1]; }
__global__ void read_beside_shared(int* out) { out[threadIdx.x] = dynamic_shared<int>()[64 + threadIdx.x]; }
__global__ void misaligned(int* out) { out[0] = int(*reinterpret_cast<int64_t*>(out + 1)); }

// Races between blocks.
__global__ void blocks_store(int* out) {
  if (threadIdx.x == 0) out[5] = int(blockIdx.x);
}
__global__ void blocks_count(int* out) {
  if (threadIdx.x == 0) out[0] = out[0] + 1;
}
__global__ void blocks_read_a_counter(int* out) {
  if (threadIdx.x == 0) {
    atomicAdd(&out[0], 1);
    out[1 + blockIdx.x] = out[0];
  }
}
__global__ void blocks_share_a_byte(int* out) {
  if (threadIdx.x == 0) reinterpret_cast<uint8_t*>(out)[blockIdx.x / 2] = 1;
}

// What a block has written for a later one: the later one waits for out[1], then reads out[2..].
enum class Publish { rightly, without_fence, with_a_fence_for_the_block, without_barrier, unread };
template <Publish how>
__global__ void publish(int* out) {
  if (blockIdx.x == 0) {
    if (threadIdx.x < 60) out[2 + threadIdx.x] = 7;
    if (how != Publish::without_barrier) __syncthreads();
    if (threadIdx.x == 0) {
      if (how == Publish::with_a_fence_for_the_block) __threadfence_block();
      else if (how != Publish::without_fence) __threadfence();
      atomicExch(&out[1], 1);
    }
  } else if (blockIdx.x == 1) {
    if (threadIdx.x == 0 && how != Publish::unread)
      while (*static_cast<volatile int*>(&out[1]) == 0) pause();
    __syncthreads();
    if (threadIdx.x == 40) out[0] = out[2 + 13];
  }
}

// The last block to finish adds up what all have written.
__global__ void last_block(int* out) {
  __shared__ bool last;
  if (threadIdx.x < 8) out[8 + 8 * blockIdx.x + threadIdx.x] = int(threadIdx.x);
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicAdd(&out[1], 1) == int(gridDim.x) - 1;
  }
  __syncthreads();
  if (!last) return;
  int sum = threadIdx.x < 32 ? out[8 + threadIdx.x] : 0;
  if (threadIdx.x < 32) sum = int(__reduce_add_sync(~0u, unsigned(sum)));
  if (threadIdx.x == 0) out[0] = sum;
}

// Each thread puts its key into a slot, or finds it there; the slot's value is written by the first.
__global__ void insert(int* out) {
  const int slot = 8 + int(threadIdx.x % 4) * 4;
  if (atomicCAS(&out[slot], 0, 1) == 0) {
    out[slot + 1] = 3;
    __threadfence();
    atomicExch(&out[slot], 2);
  }
  while (*static_cast<volatile int*>(&out[slot]) != 2) pause();
  atomicAdd(&out[0], out[slot + 1]);
}

// Races in a block.
__global__ void threads_without_barrier(int* out) {
  __shared__ int shared[64];
  shared[threadIdx.x] = 0;
  __syncthreads();
  shared[threadIdx.x] = int(threadIdx.x);  // too late
  atomicAdd(&out[0], shared[63 - threadIdx.x]);  // too early
}
__global__ void threads_overwrite(int* out) {
  __shared__ int shared[64];
  shared[threadIdx.x] = 1;
  __syncthreads();
  const int sum = shared[0] + shared[1];
  // The last thread to read: all the others have read before.
  if (threadIdx.x == 63) shared[1] = sum;
  atomicAdd(&out[0], sum);
}
__global__ void threads_of_a_buffer(int* out) {
  if (blockIdx.x > 0) return;
  out[threadIdx.x] = int(threadIdx.x);
  __syncwarp();
  if (threadIdx.x == 3) out[40] = 3;
}
__global__ void lanes_without_barrier(int* out) {
  int* shared = dynamic_shared<int>();
  shared[threadIdx.x] = int(threadIdx.x);
  if (threadIdx.x == 7) shared[9] = 1;
  __syncthreads();
  atomicAdd(&out[0], shared[threadIdx.x]);
}
__global__ void counter_without_barrier(int* out) {
  __shared__ int count;
  if (threadIdx.x == 0) count = 0;
  __syncthreads();
  atomicAdd(&count, 1);
  if (threadIdx.x == 5) atomicAdd(&out[0], count);
}

// Shared memory that is read before it is written.
__global__ void unwritten(int* out) {
  __shared__ int shared[64];
  if (threadIdx.x != 40) shared[threadIdx.x] = 1;
  __syncthreads();
  atomicAdd(&out[0], shared[63 - threadIdx.x]);
}
__global__ void unwritten_dynamic(int* out) {
  if (threadIdx.x < 8) dynamic_shared<int>()[threadIdx.x] = 1;
  __syncthreads();
  atomicAdd(&out[0], dynamic_shared<int>()[threadIdx.x % 9]);
}
__global__ void unwritten_counter(int* out) {
  __shared__ int count;
  atomicAdd(&count, 1);
  __syncthreads();
  out[blockIdx.x] = count;
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
__global__ void sound_count(int* out) {
  __shared__ int count;
  if (threadIdx.x == 0) atomicExch(&count, 0);
  __syncthreads();
  atomicAdd(&count, 1);
  __syncthreads();
  if (threadIdx.x == 0) atomicAdd(&out[0], count);
}
__global__ void sound_votes(int* out) {
  const int below = __syncthreads_count(threadIdx.x < 10);
  const bool all = __syncthreads_and(threadIdx.x < 64), any = __syncthreads_or(threadIdx.x == 64);
  const int low = __reduce_min_sync(~0u, int(threadIdx.x) - 40);
  const int high = __reduce_max_sync(~0u, int(threadIdx.x));
  // The warps' lows are -40 and -8, their highs 31 and 63.
  if (threadIdx.x % 32 == 0) atomicAdd(&out[0], below + all + any + low + high);
}
// One for each right result.
__global__ void sound_words(int* out) {
  if (grid_thread() > 0) return;
  const float large = 3e9f, nan = __uint_as_float(0x7fc00000);
  out[0] = (__brev(0x80000001u) == 0x80000001u) + (__brevll(1) == 1ull << 63) + (__ffsll(1ll << 40) == 41) +
           (__funnelshift_l(0x80000000u, 1, 1) == 3) + (__funnelshift_r(1, 3, 1) == 0x80000000u) +
           (__byte_perm(0x33221100, 0x77665544, 0x7061) == 0x77006611) + (__float2int_rn(2.5f) == 2) +
           (__float2int_rz(-2.9f) == -2) + (__float2int_rd(-2.1f) == -3) + (__float2int_ru(2.1f) == 3) +
           (__float2int_rn(large) == INT32_MAX) + (__float2int_rn(-large) == INT32_MIN) +
           (__float2int_rn(nan) == 0) + (__float2uint_rn(-1.0f) == 0) +
           (__float2uint_rz(large) == 3000000000u) +
           (__double_as_longlong(__longlong_as_double(-2)) == -2) + (make_uint4(1, 2, 3, 4).w == 4);
}
__global__ void sound_lanes(int* out) {
  int* shared = dynamic_shared<int>();
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x - lane;
  shared[threadIdx.x] = 1;
  for (unsigned distance = 16; distance > 0; distance /= 2) {
    __syncwarp();
    const int other = lane < distance ? shared[warp + lane + distance] : 0;
    if (lane < distance) shared[threadIdx.x] += other;
  }
  if (lane == 0) atomicAdd(&out[0], shared[threadIdx.x]);
}
// Bytes of a word by different threads and blocks, read as bytes and, behind a barrier, as a word.
__global__ void sound_bytes(int* out) {
  __shared__ uint8_t bytes[64];
  bytes[63 - threadIdx.x] = 1;
  if (threadIdx.x < 60) reinterpret_cast<uint8_t*>(out + 1)[threadIdx.x % 60 * 4 + blockIdx.x] = 1;
  atomicAdd(&out[0], bytes[63 - threadIdx.x]);
  __syncthreads();
  if (threadIdx.x < 16) atomicAdd(&out[0], reinterpret_cast<int*>(bytes)[threadIdx.x] == 0x01010101);
}
// A tile that is written anew in every round, and a structure with padding.
__global__ void sound_rounds(int* out) {
  struct Padded {
    int64_t sum;
    int count;
  };
  __shared__ Padded sums[64];
  sums[threadIdx.x].sum = 0;
  sums[threadIdx.x].count = 0;
  for (int round = 0; round < 5; ++round) {
    __syncthreads();
    const Padded other = sums[(threadIdx.x + 1) % 64];
    __syncthreads();
    sums[threadIdx.x] = other;
    sums[threadIdx.x].count += 1;
  }
  atomicAdd(&out[0], sums[threadIdx.x].count);
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
#define PLANTED(kernel) {#kernel, kernel}
      PLANTED(missing_barrier), PLANTED(divergent_shuffle), PLANTED(shuffle_from_nobody),
      PLANTED(out_of_bounds), PLANTED(endless_wait), PLANTED(write_beside), PLANTED(read_beside),
      PLANTED(read_beside_shared), PLANTED(misaligned),
      PLANTED(blocks_store), PLANTED(blocks_count), PLANTED(blocks_read_a_counter),
      PLANTED(blocks_share_a_byte),
      PLANTED(publish<Publish::rightly>), PLANTED(publish<Publish::without_fence>),
      PLANTED(publish<Publish::with_a_fence_for_the_block>), PLANTED(publish<Publish::without_barrier>),
      PLANTED(publish<Publish::unread>), PLANTED(last_block), PLANTED(insert),
      PLANTED(threads_without_barrier), PLANTED(threads_overwrite), PLANTED(threads_of_a_buffer),
      PLANTED(lanes_without_barrier), PLANTED(counter_without_barrier),
      PLANTED(unwritten), PLANTED(unwritten_dynamic), PLANTED(unwritten_counter),
      PLANTED(sound), PLANTED(sound_count), PLANTED(sound_votes), PLANTED(sound_words),
      PLANTED(sound_lanes), PLANTED(sound_bytes), PLANTED(sound_rounds),
#undef PLANTED
  };
  for (auto& planted : kernels)
    if (!strcmp(planted.name, name)) {
      found = true;
      launch(planted.name, planted.kernel, 4, 64, 64 * sizeof(int), nullptr, memory);
    }
  const int first = found ? memory[0] : -1;
  recis_simt_release(memory);
  return first;
}
