/* Memory for the kernels: of a GPU, or the host's for a library that runs on the CPU (RECIS_SIMT). */
#pragma once

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef RECIS_SIMT
#include "recis_simt.h"
static inline void *device_allocate(size_t bytes) { return recis_simt_allocate(bytes); }
static inline void device_release(void *memory) { recis_simt_release(memory); }
static inline int device_copy(void *to, const void *from, size_t bytes) {
  memcpy(to, from, bytes);
  return 0;
}
#else
#include <cuda_runtime_api.h>
static inline void *device_allocate(size_t bytes) {
  void *memory = NULL;
  return cudaMalloc(&memory, bytes) ? NULL : memory;
}
static inline void device_release(void *memory) { cudaFree(memory); }
/* Either way; waits for the default stream's work. */
static inline int device_copy(void *to, const void *from, size_t bytes) {
  return cudaMemcpy(to, from, bytes, cudaMemcpyDefault) != cudaSuccess;
}
#endif

/* Device memory with a copy of `values`, or of unspecified contents if they are null. */
static inline void *to_device(const void *values, size_t bytes) {
  void *memory = device_allocate(bytes);
  if (memory && (!values || !device_copy(memory, values, bytes))) return memory;
  fprintf(stderr, "no device memory for %zu bytes: is there a GPU?\n", bytes);
  exit(1);
}

static inline void to_host(void *values, const void *memory, size_t bytes) {
  if (!device_copy(values, memory, bytes)) return;
  fprintf(stderr, "the device's work failed\n");
  exit(1);
}
