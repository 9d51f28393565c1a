// Errors, the version and the layout.
#include "common.cuh"

#include <cstdio>

namespace recis {
namespace {
thread_local char last_error[512] = "";
}

int fail(recis_status status, const char* op, const char* subject, const char* problem, location where) {
  snprintf(last_error, sizeof(last_error), "%s: %s %s (%s:%u)", op, subject, problem, where.file_name(),
           unsigned(where.line()));
  return status;
}
}  // namespace recis

extern "C" int recis_abi_version(void) { return RECIS_ABI_VERSION; }

extern "C" uint64_t recis_abi_layout(void) { return recis_header_layout(); }

extern "C" const char* recis_last_error(void) { return recis::last_error; }
