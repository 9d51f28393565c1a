// Ids hashed into buckets: one of the hashes of RecIS's IDMultiHash.
#include "elementwise.cuh"

namespace {
struct MultiHash {
  int64_t multiplier, prime, buckets;
  __device__ int64_t operator()(int64_t id) const {
    // Unsigned, because the product wraps around.
    const int64_t rest = int64_t(uint64_t(id) * uint64_t(multiplier)) % prime;
    return (rest < 0 ? rest + prime : rest) % buckets;
  }
};
}  // namespace

extern "C" int recis_multi_hash_forward(const int64_t* ids, int64_t count, int64_t multiplier, int64_t prime,
                                        int64_t buckets, int64_t* out, recis_stream_t stream) {
  const char* op = "multi_hash.forward";
  if (int status = recis::first_of(recis::require(prime >= 1, op, "prime", "is below 1"),
                                   recis::require(buckets >= 1, op, "buckets", "is below 1")))
    return status;
  return recis::map(op, ids, count, out, MultiHash{multiplier, prime, buckets}, stream);
}
