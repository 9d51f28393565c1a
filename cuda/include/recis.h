/*
 * recis: kernels for training click-through-rate models. The C ABI.
 *
 * Conventions, for every function unless it says otherwise:
 *
 * - Pointers are device memory of the stream's device, aligned to 16 bytes. Arrays of rows are row
 *   after row without gaps. Sizes are counted in elements, as int64_t, and may be 0.
 * - Work is enqueued on `stream` and may be captured in a graph. A call never allocates, never
 *   waits, never prints, and may be made from several threads at once on different streams.
 * - The result is a recis_status. Arguments are checked before anything is enqueued: null pointers,
 *   negative or unfitting sizes, misaligned pointers and too small a workspace leave everything
 *   untouched. recis_last_error() says more.
 * - Inputs and outputs must not overlap unless a function says that they may.
 * - Results are deterministic: the same inputs on the same device give the same bits.
 * - Ragged columns are (values, offsets, rows, capacity): row i is values[offsets[i]..offsets[i+1]],
 *   offsets[0] is 0. How many values there are is read on the device; capacity bounds it.
 */
#ifndef RECIS_H
#define RECIS_H

#include <stddef.h>
#include <stdint.h>

#define RECIS_ABI_VERSION 1

#ifdef __cplusplus
extern "C" {
#endif

/* A CUDA stream (cudaStream_t, CUstream); null is the default stream. */
typedef struct CUstream_st *recis_stream_t;

typedef enum recis_status {
  RECIS_OK = 0,
  RECIS_INVALID_ARGUMENT = 1,
  RECIS_WORKSPACE_TOO_SMALL = 2,
  RECIS_CUDA_ERROR = 3,
  RECIS_OUT_OF_MEMORY = 4
} recis_status;

/* The RECIS_ABI_VERSION that the library was built with. */
int recis_abi_version(void);

/* The last error of this thread: operation, source line, and what is wrong. Empty if there was
 * none. Valid until the thread's next call. */
const char *recis_last_error(void);

/* out[i] = (uint64_t)values[i] % modulus, as int64_t. `modulus` is at least 1. `out` may be
 * `values`. */
int recis_modulo_forward(const int64_t *values, int64_t count, uint64_t modulus, int64_t *out,
                         recis_stream_t stream);

/* out[i] = (ids[i] & (2^52 - 1)) | table << 52. `table` is below 4096. `out` may be `ids`. */
int recis_encode_ids_forward(const int64_t *ids, int64_t count, uint32_t table, int64_t *out,
                             recis_stream_t stream);

/* values[i] *= factor. */
int recis_scale_forward(float *values, int64_t count, float factor, recis_stream_t stream);

/* y[i] = x[i] < 0 ? 0 : x[i]; NaN stays NaN. `y` may be `x`. */
int recis_relu_forward(const float *x, int64_t count, float *y, recis_stream_t stream);

/* d_x[i] = y[i] > 0 ? d_y[i] : 0, from the forward's `y`. `d_x` may be `y` or `d_y`. */
int recis_relu_backward(const float *y, const float *d_y, int64_t count, float *d_x, recis_stream_t stream);

/* y[i] = 1 / (1 + exp(-x[i])). `y` may be `x`. */
int recis_sigmoid_forward(const float *x, int64_t count, float *y, recis_stream_t stream);

/* d_x[i] = d_y[i] * y[i] * (1 - y[i]), from the forward's `y`. `d_x` may be `y` or `d_y`. */
int recis_sigmoid_backward(const float *y, const float *d_y, int64_t count, float *d_x, recis_stream_t stream);

/* out[i] = how many of the `boundary_count` ascending boundaries are not above values[i]; for NaN,
 * all. */
int recis_bucketize_forward(const float *values, int64_t count, const float *boundaries, int64_t boundary_count,
                            int64_t *out, recis_stream_t stream);

/* One hash for each of `count` strings: out[i] is that of the bytes offsets[i]..offsets[i+1], the
 * unsigned number bit-cast. `bytes` needs no alignment, and may be null if there are no strings.
 * Farm is FarmHash's Fingerprint64, murmur is MurmurHash64A with seed 0. */
int recis_string_hash_farm(const int8_t *bytes, const int32_t *offsets, int64_t count, int64_t *out,
                           recis_stream_t stream);
int recis_string_hash_murmur(const int8_t *bytes, const int32_t *offsets, int64_t count, int64_t *out,
                             recis_stream_t stream);

/* A step of Adam with decoupled weight decay over `count` elements of each array:
 *
 *   exp_avg    += (gradient - exp_avg) * rest1
 *   exp_avg_sq  = beta2 * exp_avg_sq + rest2 * gradient^2
 *   parameter   = decay * parameter - step_size * exp_avg / (sqrt(exp_avg_sq) * correction + eps)
 *
 * In step t: decay = 1 - lr * weight_decay, step_size = lr / (1 - beta1^t), rest1 = 1 - beta1,
 * rest2 = 1 - beta2, correction = 1 / sqrt(1 - beta2^t), computed in double and then rounded. */
int recis_adamw_step(float *parameter, float *exp_avg, float *exp_avg_sq, const float *gradient, int64_t count,
                     float decay, float step_size, float rest1, float beta2, float rest2, float correction,
                     float eps, recis_stream_t stream);

#ifdef __cplusplus
}
#endif

#endif
