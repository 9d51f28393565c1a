// Device memory that a handle owns. Launchers never allocate; create, reserve and destroy do.
#pragma once

#include "common.cuh"

namespace recis {

#ifndef RECIS_SIMT
inline int checked(const char* op, const char* subject, cudaError_t error, location where) {
  if (error == cudaSuccess) return RECIS_OK;
  cudaGetLastError();  // so that the next launch does not report it
  const recis_status status = error == cudaErrorMemoryAllocation ? RECIS_OUT_OF_MEMORY : RECIS_CUDA_ERROR;
  return fail(status, op, subject, cudaGetErrorString(error), where);
}
#endif

// Memory that lives as long as its handle. May wait.
inline int allocate(const char* op, size_t bytes, void** memory, location where = location::current()) {
#ifdef RECIS_SIMT
  *memory = recis_simt_allocate(bytes);
  return *memory ? RECIS_OK : fail(RECIS_OUT_OF_MEMORY, op, "allocation failed:", "out of memory", where);
#else
  return checked(op, "allocation failed:", cudaMalloc(memory, bytes), where);
#endif
}

// Releases any memory from here, when the device has done its work: for that it waits if the memory is
// not from a stream.
inline int release(const char* op, void* memory, location where = location::current()) {
#ifdef RECIS_SIMT
  (void)op, (void)where;
  recis_simt_release(memory);
  return RECIS_OK;
#else
  return checked(op, "release failed:", cudaFree(memory), where);
#endif
}

// The same in the order of a stream, without waiting.
inline int allocate(const char* op, size_t bytes, void** memory, recis_stream_t stream,
                    location where = location::current()) {
#ifdef RECIS_SIMT
  (void)stream;
  return allocate(op, bytes, memory, where);
#else
  return checked(op, "allocation failed:", cudaMallocAsync(memory, bytes, stream), where);
#endif
}
inline int release(const char* op, void* memory, recis_stream_t stream,
                   location where = location::current()) {
#ifdef RECIS_SIMT
  (void)stream;
  return release(op, memory, where);
#else
  return checked(op, "release failed:", cudaFreeAsync(memory, stream), where);
#endif
}

// Whether work on the stream is being captured in a graph.
inline bool is_capturing(recis_stream_t stream) {
#ifdef RECIS_SIMT
  (void)stream;
  return false;
#else
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  return cudaStreamIsCapturing(stream, &status) != cudaSuccess || status != cudaStreamCaptureStatusNone;
#endif
}

// RECIS_OK if the stream may allocate: it is there, and not being captured.
inline int require_not_captured(const char* op, recis_stream_t stream, location where = location::current()) {
#ifdef RECIS_SIMT
  (void)op, (void)stream, (void)where;
  return RECIS_OK;
#else
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  if (int error = checked(op, "the stream:", cudaStreamIsCapturing(stream, &status), where)) return error;
  return require(status == cudaStreamCaptureStatusNone, op, "the stream", "is being captured", where);
#endif
}

}  // namespace recis
