// RecIS's keys: the table in the upper 12 bits, the id in the lower 52.
#include "elementwise.cuh"

namespace {
constexpr int kIdBits = 52;

struct Encode {
  uint32_t table;
  __device__ int64_t operator()(int64_t id) const {
    return int64_t((uint64_t(id) & ((uint64_t(1) << kIdBits) - 1)) | uint64_t(table) << kIdBits);
  }
};
}  // namespace

extern "C" int recis_encode_ids_forward(const int64_t* ids, int64_t count, uint32_t table, int64_t* out,
                                        recis_stream_t stream) {
  const char* op = "encode_ids.forward";
  if (int status = recis::require(table < 4096, op, "the table", "does not fit in 12 bits")) return status;
  return recis::map(op, ids, count, out, Encode{table}, stream);
}
