// Errors, the version and the layout.
#include "common.cuh"

#include <atomic>
#include <cstdio>

namespace recis {
namespace {
thread_local char last_error[512] = "";

#ifndef RECIS_SIMT
// Tells what all kernels were made for.
__global__ void probe_kernel() {}
#endif
}  // namespace

#ifndef RECIS_SIMT
bool kernels_wait() {
  enum Answer : char { unknown, no, yes };
  static std::atomic<Answer> answers[64];  // by device
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess || device >= 64) return false;
  Answer answer = answers[device].load(std::memory_order_relaxed);
  if (answer == unknown) {
    cudaFuncAttributes attributes{};
    int driver = 0;
    if (cudaFuncGetAttributes(&attributes, probe_kernel) != cudaSuccess ||
        cudaDriverGetVersion(&driver) != cudaSuccess)
      return false;
    answer = attributes.ptxVersion >= 90 && driver >= 12030 ? yes : no;
    answers[device].store(answer, std::memory_order_relaxed);
  }
  return answer == yes;
}
#endif

int fail(recis_status status, const char* op, const char* subject, const char* problem, location where) {
  snprintf(last_error, sizeof(last_error), "%s: %s %s (%s:%u)", op, subject, problem, where.file_name(),
           unsigned(where.line()));
  return status;
}
}  // namespace recis

extern "C" int recis_abi_version(void) { return RECIS_ABI_VERSION; }

extern "C" uint64_t recis_abi_layout(void) { return recis_header_layout(); }

extern "C" const char* recis_last_error(void) { return recis::last_error; }
