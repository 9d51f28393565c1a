// Who owns the ids of a batch.
#include "murmur.cuh"

namespace recis {
namespace {

__global__ void __launch_bounds__(kThreads) zero_kernel(uint32_t* counts, int32_t world_size) {
  wait_for_stream();
  for (int64_t i = grid_thread(); i < world_size; i += grid_threads()) counts[i] = 0;
}

// RecIS's: the first `rest` of the slices of the 2^16 residues have one more than `slice`.
struct Slices {
  int32_t slice, rest;
  __device__ uint32_t operator()(int64_t id) const {
    const int32_t residue = int32_t(id & 0xffff);
    return uint32_t(max(residue / (slice + 1), (residue - rest) / slice));
  }
};

struct Balanced {
  uint32_t world_size;
  __device__ uint32_t operator()(int64_t id) const { return uint32_t((murmur(id) >> 32) * world_size >> 32); }
};

// Ranks that a block counts in shared memory, before it adds to the counts of all.
constexpr int32_t kCounted = 1024;

template <class Owner>
__global__ void __launch_bounds__(kThreads)
    owner_kernel(const int64_t* ids, int64_t capacity, const uint32_t* count, Owner owner, int32_t world_size,
                 uint32_t* owners, uint32_t* counts) {
  wait_for_stream();
  __shared__ uint32_t counted[kCounted];
  const bool few = world_size <= kCounted;
  if (few)
    for (int32_t rank = int32_t(threadIdx.x); rank < world_size; rank += kThreads) counted[rank] = 0;
  __syncthreads();
  const int64_t here = bounded(count, capacity);
  for (int64_t i = grid_thread(); i < here; i += grid_threads()) {
    const uint32_t rank = owner(ids[i]);
    owners[i] = rank;
    if (few) atomicAdd(&counted[rank], 1u);
    else atomicAdd(&counts[rank], 1u);
  }
  __syncthreads();
  if (few)
    for (int32_t rank = int32_t(threadIdx.x); rank < world_size; rank += kThreads)
      if (counted[rank] > 0) atomicAdd(&counts[rank], counted[rank]);
}

}  // namespace
}  // namespace recis

extern "C" int recis_partition_ids_owner(const int64_t* ids, int64_t capacity, const uint32_t* count,
                                         int32_t world_size, recis_owner owner, uint32_t* owners,
                                         uint32_t* counts, recis_stream_t stream) {
  using namespace recis;
  const char* op = "partition_ids.owner";
  if (int status = first_of(
          require(world_size >= 1 && world_size <= 65536, op, "world_size", "is not within 1..=65536"),
          require(owner == RECIS_OWNER_SLICES || owner == RECIS_OWNER_BALANCED, op, "owner", "is unknown"),
          require_array(ids, capacity, op, "ids"), require_array(count, 0, op, "count"),
          require_array(owners, capacity, op, "owners"), require_array(counts, 1, op, "counts")))
    return status;
  if (int status = launch(op, zero_kernel, blocks_for(world_size), kThreads, 0, stream, counts, world_size))
    return status;
  if (capacity == 0) return RECIS_OK;
  const unsigned blocks = blocks_for(capacity);
  if (owner == RECIS_OWNER_BALANCED)
    return launch(op, owner_kernel<Balanced>, blocks, kThreads, 0, stream, ids, capacity, count,
                  Balanced{uint32_t(world_size)}, world_size, owners, counts);
  return launch(op, owner_kernel<Slices>, blocks, kThreads, 0, stream, ids, capacity, count,
                Slices{65536 / world_size, 65536 % world_size}, world_size, owners, counts);
}
