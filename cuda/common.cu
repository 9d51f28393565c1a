// Errors, the version and the layout.
#include "common.cuh"

#include <atomic>
#include <cstdio>

namespace recis {
namespace {
thread_local char last_error[512] = "";

#ifndef RECIS_SIMT
// Tells what all kernels were made for: by shared memory, that they have Hopper's own instructions.
__global__ void probe_kernel(int* out) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  __shared__ int mark[32];
  mark[threadIdx.x % 32] = int(threadIdx.x);
  __syncthreads();
  if (out) *out = mark[31 - threadIdx.x % 32];
#endif
}

struct Made {
  bool wait, wgmma;
};

Made made() {
  enum Answer : char { known = 1, waits = 2, has_wgmma = 4 };
  static std::atomic<char> answers[64];  // by device
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess || device >= 64) return {};
  char answer = answers[device].load(std::memory_order_relaxed);
  if (!answer) {
    cudaFuncAttributes attributes{};
    int driver = 0;
    if (cudaFuncGetAttributes(&attributes, probe_kernel) != cudaSuccess ||
        cudaDriverGetVersion(&driver) != cudaSuccess)
      return {};
    answer = known;
    if (attributes.ptxVersion >= 90 && driver >= 12030) answer |= waits;
    if (attributes.sharedSizeBytes > 0) answer |= has_wgmma;
    answers[device].store(answer, std::memory_order_relaxed);
  }
  return {(answer & waits) != 0, (answer & has_wgmma) != 0};
}
#endif
}  // namespace

#ifndef RECIS_SIMT
bool kernels_wait() { return made().wait; }
bool kernels_have_wgmma() { return made().wgmma; }
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
