/*
 * recis: kernels for training click-through-rate models. The C ABI.
 *
 * Conventions, for every function unless it says otherwise:
 *
 * - Memory. Pointers to numbers are device memory of the stream's device; structs and arrays of structs,
 *   `bytes` of a workspace size, and handles are host memory, read or written before the call returns.
 *   An array begins at a multiple of 16 bytes, and may be null only if it has no elements. One whose
 *   comment gives no shape has `count` elements. Arrays of rows are row after row without gaps. Sizes
 *   are counted in elements, as int64_t, and may be 0. Device memory must stay until the work is done.
 * - Types are those of the declaration: float is IEEE binary32, denormals included; but sums of gradients over
 *   ids may take some of them for zeros.
 * - Streams. Work is enqueued on `stream`, whose device must be the thread's current one, and may be
 *   captured in a graph. Results are there when the stream has come so far; order between streams is
 *   the caller's. A call never allocates, never waits, never prints.
 * - Threads. Any function may be called from several threads at once, if they share no memory that one
 *   of them writes, no workspace and no table.
 * - Errors. The result is a recis_status. Arguments are checked before anything is enqueued: null
 *   pointers, negative or unfitting sizes, misaligned pointers and too small a workspace leave everything
 *   untouched. recis_last_error() says more. After RECIS_CUDA_ERROR the outputs are unspecified. What a
 *   kernel finds wrong on the device later is an error of CUDA's, not a status of the call.
 * - Aliasing. Inputs may overlap each other. Outputs must not overlap inputs or each other unless a
 *   function says that they may.
 * - Determinism. The same inputs on the same kind of device with the same library give the same bits.
 *   Integers are the same everywhere; floats may differ in rounding between devices and versions, and a
 *   NaN in its payload.
 * - Ragged columns are (values, offsets, rows, capacity): row i is values[offsets[i]..offsets[i+1]],
 *   offsets [rows + 1] ascend and begin with 0. How many values there are is offsets[rows], read on the
 *   device; capacity bounds it. A `count` that is a pointer is one number in device memory, likewise
 *   bounded by a capacity; null means all of the capacity. Elements behind are neither read nor written.
 * - Contents. Kernels never leave the arrays, whatever their contents: offsets are clamped to 0 and
 *   capacity, and indices that are out of bounds are passed over. What they give then is unspecified.
 * - Workspace. A function that needs scratch memory takes `workspace`, device memory aligned as arrays
 *   are, and its size; recis_<op>_workspace_size, which enqueues nothing, says how many bytes it needs for
 *   these sizes, 0 included. To be asked with the device current that will do the work: the answer may
 *   depend on it, and on the version, and be RECIS_CUDA_ERROR where there is none. Contents before and after are unspecified. It must not be in use by
 *   another call until this one's work is done.
 */
#ifndef RECIS_H
#define RECIS_H

#include <stddef.h>
#include <stdint.h>

#define RECIS_ABI_VERSION 1

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

/* A CUDA stream (cudaStream_t, CUstream); null is the legacy default stream. A library built for the CPU
 * (RECIS_SIMT) ignores it: its work is done when the call returns, and runs one kernel at a time. */
typedef struct CUstream_st *recis_stream_t;

/* Numbers stay; later versions may add some. */
typedef enum recis_status {
  RECIS_OK = 0,
  RECIS_INVALID_ARGUMENT = 1, /* nothing was touched */
  RECIS_WORKSPACE_TOO_SMALL = 2, /* nothing was touched */
  RECIS_CUDA_ERROR = 3, /* no driver or device, a launch that failed, an error of earlier work */
  RECIS_OUT_OF_MEMORY = 4 /* only of functions that allocate */
} recis_status;

/* The row of an id that is not in a table. */
#define RECIS_NO_ROW 0xffffffffu

/* The RECIS_ABI_VERSION that the library was built with. */
int recis_abi_version(void);

/* What recis_header_layout(), at the end of this header, was where the library was built: a number made of
 * the sizes of the structs and enums and of the places and sizes of their fields. A program compares both
 * once, before it hands over a struct. */
uint64_t recis_abi_layout(void);

/* The last error of this thread: operation, source line, and what is wrong; the wording may change.
 * Empty if there was none; a call that succeeds leaves it. Host memory, valid until the thread's next
 * call. */
const char *recis_last_error(void);

/* out[i] = (uint64_t)values[i] % modulus, bit-cast to int64_t. `modulus` is at least 1. `out` may be
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

/* y[i] = 1 / (1 + exp(-x[i])); NaN stays NaN. `y` may be `x`. */
int recis_sigmoid_forward(const float *x, int64_t count, float *y, recis_stream_t stream);

/* d_x[i] = d_y[i] * y[i] * (1 - y[i]), from the forward's `y`. `d_x` may be `y` or `d_y`. */
int recis_sigmoid_backward(const float *y, const float *d_y, int64_t count, float *d_x, recis_stream_t stream);

/* out[i] = how many of the ascending boundaries [boundary_count] are not above values[i]; for NaN, all.
 * Of boundaries that do not ascend, `out` is unspecified, within 0..boundary_count. */
int recis_bucketize_forward(const float *values, int64_t count, const float *boundaries, int64_t boundary_count,
                            int64_t *out, recis_stream_t stream);

/* One hash for each of `count` strings: out[i] is that of the bytes offsets[i]..offsets[i+1], the
 * unsigned number bit-cast. `offsets` is [count + 1] and need not begin with 0; `bytes` is [capacity],
 * needs no alignment, and may be null if there are no strings. Farm is FarmHash's Fingerprint64, murmur is MurmurHash64A
 * with seed 0. A `modulus` that is not 0 makes remainders of them, as recis_modulo_forward does. */
int recis_string_hash_farm(const int8_t *bytes, int64_t capacity, const int32_t *offsets, int64_t count,
                           uint64_t modulus, int64_t *out, recis_stream_t stream);
int recis_string_hash_murmur(const int8_t *bytes, int64_t capacity, const int32_t *offsets, int64_t count,
                             uint64_t modulus, int64_t *out, recis_stream_t stream);

/* A parameter of the dense network, its moments and its gradient. */
typedef struct recis_adamw_parameter {
  float *value;
  float *exp_avg;
  float *exp_avg_sq;
  const float *gradient;
  int64_t count;
} recis_adamw_parameter;

/* A step of Adam with decoupled weight decay over each element of the `parameters`, which may be null if
 * there are none:
 *
 *   g           = gradient * scale
 *   exp_avg    += (g - exp_avg) * rest1
 *   exp_avg_sq  = beta2 * exp_avg_sq + rest2 * g^2
 *   value       = decay * value - step_size * exp_avg / (sqrt(exp_avg_sq) * correction + eps)
 *
 * The scale makes a mean of gradients that are summed over several batches; else it is 1. In step t:
 * decay = 1 - lr * weight_decay, step_size = lr / (1 - beta1^t), rest1 = 1 - beta1, rest2 = 1 - beta2,
 * correction = 1 / sqrt(1 - beta2^t), computed in double and then rounded. One launch does 64 parameters. */
int recis_adamw_step(const recis_adamw_parameter *parameters, int64_t parameter_count, float scale, float decay,
                     float step_size, float rest1, float beta2, float rest2, float correction, float eps,
                     recis_stream_t stream);

/* values[i, j] = value for i < count[0]: `values` is [capacity, width]; `count` may be null. */
int recis_fill_forward(float *values, int64_t width, int64_t capacity, const uint32_t *count, float value,
                       recis_stream_t stream);

/* out[i] = ((ids[i] * multiplier % prime + prime) % prime) % buckets, in int64_t: the product wraps
 * around, % is C's. One of the hashes of RecIS's IDMultiHash. `prime` and `buckets` are at least 1.
 * `out` may be `ids`. */
int recis_multi_hash_forward(const int64_t *ids, int64_t count, int64_t multiplier, int64_t prime, int64_t buckets,
                             int64_t *out, recis_stream_t stream);

/* A ragged column of ids; `weights` may be null: all 1. `rows` is below 2^31 - 1. */
typedef struct recis_ragged {
  const int64_t *values; /* [capacity] */
  const int32_t *offsets; /* [rows + 1] */
  const float *weights; /* [capacity] or null */
  int64_t rows;
  int64_t capacity;
} recis_ragged;

/* The product of two columns, row by row, as many rows as the shorter has. The id of a pair is
 * MurmurHash64A of both ids' 16 bytes, seed 0. Within a row either side's ids count once, with the
 * weight of their first occurrence, in ascending order; x is the outer loop. A pair's weight is the
 * product of both weights.
 *
 * `offsets` is [rows + 1] of the result. pairs[0] is how many pairs there are: those beyond `capacity`
 * (of `values` and `weights`) are not written, and offsets end there. The workspace size is that for as
 * many rows as the shorter has, and the capacities of `x` and `y`. */
int recis_feature_cross_workspace_size(int64_t rows, int64_t x_capacity, int64_t y_capacity, size_t *bytes);
int recis_feature_cross_forward(const recis_ragged *x, const recis_ragged *y, int64_t *values, int32_t *offsets,
                                float *weights, int64_t capacity, int64_t *pairs, void *workspace,
                                size_t workspace_bytes, recis_stream_t stream);

typedef enum recis_side {
  RECIS_LEFT = 0, /* cut on the left: the last values are kept */
  RECIS_RIGHT = 1 /* cut on the right: the first values are kept */
} recis_side;

/* Cuts every row to at most `keep` values, which stay in order. `out_values` and `out_weights` are
 * [out_capacity], `out_offsets` [rows + 1]; `out_capacity` is at least min(capacity, rows * keep).
 * `out_weights` is null exactly if the column has no weights. A `modulus` that is not 0 makes remainders of the values, as
 * recis_modulo_forward does. */
int recis_truncate_workspace_size(int64_t rows, size_t *bytes);
int recis_truncate_forward(const recis_ragged *column, int64_t keep, recis_side side, uint64_t modulus,
                           int64_t *out_values, int32_t *out_offsets, float *out_weights, int64_t out_capacity,
                           void *workspace, size_t workspace_bytes, recis_stream_t stream);

/* Cuts rows of lists: every row comes out with exactly `keep` lists, empty ones appended where it has
 * fewer. `lists` holds the lists (rows: how many at most); row i has the lists
 * row_offsets[i]..row_offsets[i+1] of it. Row i of the result has the lists i * keep..(i + 1) * keep;
 * `out_offsets` is [rows * keep + 1], `out_capacity` at least lists->capacity. */
int recis_truncate_lists_workspace_size(int64_t rows, int64_t keep, size_t *bytes);
int recis_truncate_lists(const recis_ragged *lists, const int32_t *row_offsets, int64_t rows, int64_t keep,
                         recis_side side, int64_t *out_values, int32_t *out_offsets, float *out_weights,
                         int64_t out_capacity, void *workspace, size_t workspace_bytes, recis_stream_t stream);

/* The ids of one feature. Its positions are first..first + capacity of all positions. */
typedef struct recis_ids_column {
  const int64_t *ids; /* [capacity] */
  const int32_t *offsets; /* [rows + 1]: offsets[rows] ids are there; or null: all of the capacity */
  int64_t rows;
  int64_t capacity;
  int64_t first;
  uint32_t table; /* the logical table that they are looked up in */
} recis_ids_column;

/* The distinct ids of several columns, which positions of theirs hold each, and which of them each
 * position holds.
 *
 *   ids            [total] distinct ids, table after table; within a table by the low 16 bits, then
 *                  by the upper 48, unsigned: RecIS's order
 *   table_offsets  [tables + 1] the ids of table t are table_offsets[t]..table_offsets[t+1];
 *                  table_offsets[tables] is how many there are
 *   inverse        [total] for each position that holds an id, its place in `ids`
 *   positions      [total] the positions below `listed` that hold an id, by the place of the id, then ascending
 *   starts         [total + 1] those of the id at place u are positions[starts[u]..starts[u+1]]
 *   count          [1] how many distinct ids there are, as operations take it that are given an array with
 *                  room for more; may be null
 *
 * `total` is at least first + capacity of every column and below 2^31; columns do not overlap (what
 * comes out if they do is unspecified). `tables` is at least 1 and at most 4096; every column's table is
 * below it. Elements of the results behind what they hold are unspecified. The columns' count is any.
 * `listed` is at most `total`; positions from there on may be in `positions` too, or not. */
int recis_partition_ids_workspace_size(int64_t total, int64_t tables, int64_t listed, size_t *bytes);
int recis_partition_ids_forward(const recis_ids_column *columns, int64_t column_count, int64_t tables,
                                int64_t total, int64_t listed, int64_t *ids, uint32_t *table_offsets,
                                uint32_t *inverse, uint32_t *positions, uint32_t *starts, uint32_t *count,
                                void *workspace, size_t workspace_bytes, recis_stream_t stream);

typedef enum recis_owner {
  RECIS_OWNER_SLICES = 0, /* RecIS's: the low 16 bits in `world_size` slices, the first ones longer */
  RECIS_OWNER_BALANCED = 1 /* the upper half of murmur(id's 8 bytes), times world_size, over 2^32 */
} recis_owner;

/* owners[i] = the rank that owns ids[i], and counts[r] = how many of them rank r owns. `ids` and `owners`
 * are [capacity], of which count[0] count; `counts` is [world_size], `world_size` between 1 and 65536. */
int recis_partition_ids_owner(const int64_t *ids, int64_t capacity, const uint32_t *count, int32_t world_size,
                              recis_owner owner, uint32_t *owners, uint32_t *counts, recis_stream_t stream);

/* A hash table from keys to rows. A key is a logical table (below 4096) and an id of any 64 bits. Rows
 * are numbered from 0; those of erased ids are given out again. Which row an id gets is unspecified,
 * and may differ from run to run.
 *
 * One call on a table at a time, reading ones included, in the order of one stream: threads take turns,
 * and a stream that takes over waits for the one before by an event. Different tables share nothing.
 *
 * Ids come grouped by logical table as recis_partition_ids_forward gives them: `ids` [capacity] and
 * table_offsets [tables + 1] in device memory, the last one bounded by `capacity`; entries of `rows`
 * [capacity] behind it become RECIS_NO_ROW. The same id may come more than once. `tables` is between 1
 * and 4096, `capacity` below 2^32. */
typedef struct recis_hash_table recis_hash_table;

/* What a table counts, in this order. */
typedef enum recis_hash_table_counter {
  RECIS_TABLE_SIZE = 0, /* ids */
  RECIS_TABLE_USED = 1, /* slots that are not free: ids, and erased ones since the last reserve */
  RECIS_TABLE_ROW_BOUND = 2, /* rows are below this */
  RECIS_TABLE_FAILED = 3, /* ids that were not placed because reserve was not called in time: 0 unless a
                             caller is at fault */
  RECIS_TABLE_COUNTERS = 4
} recis_hash_table_counter;

/* Makes a table with room for `ids` ids (below 2^32 - 1) on the current device; table[0] becomes null if
 * that fails, but for an invalid argument. Allocates, may wait for the device, and is refused on a stream
 * that is being captured. */
int recis_hash_table_create(int64_t ids, recis_hash_table **table, recis_stream_t stream);
/* Waits for the device's work, and frees the table; null is fine. Not while a graph that uses the table
 * may still run. */
int recis_hash_table_destroy(recis_hash_table *table);
/* Makes room for `ids` ids in all (not more, but all): moves the table to larger storage if it has to,
 * and forgets erased ids. Ids keep their rows; graphs that were captured before stay valid. Allocates on
 * the stream (cudaMallocAsync), does not wait, and is refused on one that is being captured. If it fails,
 * the table is as before. */
int recis_hash_table_reserve(recis_hash_table *table, int64_t ids, recis_stream_t stream);
/* How many ids there is room for; 0 for null. Answers at once, from what the last reserve did. */
int64_t recis_hash_table_capacity(const recis_hash_table *table);
/* Enqueues a copy of the counters to `counters` [RECIS_TABLE_COUNTERS]: device memory or pinned host
 * memory. */
int recis_hash_table_counters(const recis_hash_table *table, int64_t *counters, recis_stream_t stream);
/* rows[i] = the row of ids[i], or RECIS_NO_ROW. */
int recis_hash_table_find(const recis_hash_table *table, const int64_t *ids, const uint32_t *table_offsets,
                          int64_t tables, int64_t capacity, uint32_t *rows, recis_stream_t stream);
/* As find, but an id that is not there gets a row. new_ids[0..new_count[0]] are the places in `ids` of
 * those that did, in unspecified order, one for each id; `new_ids` is [capacity], and unspecified behind
 * them. An id for which there is no room gets RECIS_NO_ROW and is counted as failed. `counters` takes the
 * table's counters, as recis_hash_table_counters; it may be null. */
int recis_hash_table_find_or_insert(recis_hash_table *table, const int64_t *ids, const uint32_t *table_offsets,
                                    int64_t tables, int64_t capacity, uint32_t *rows, uint32_t *new_ids,
                                    uint32_t *new_count, int64_t *counters, recis_stream_t stream);
/* Removes ids, and frees their rows for ids to come; those that are not there are passed over. What is
 * stored in the rows stays. */
int recis_hash_table_erase(recis_hash_table *table, const int64_t *ids, const uint32_t *table_offsets,
                           int64_t tables, int64_t capacity, recis_stream_t stream);
/* counts[t] = the number of ids of logical table t; `counts` is [tables]. */
int recis_hash_table_size(const recis_hash_table *table, int64_t tables, int64_t *counts, recis_stream_t stream);
/* The ids of a logical table and their rows (both [capacity]), in unspecified order; count[0] is how many
 * there are, and those beyond `capacity` are not written. `logical_table` is below 4096. */
int recis_hash_table_export(const recis_hash_table *table, uint32_t logical_table, int64_t capacity, int64_t *ids,
                            uint32_t *rows, int64_t *count, recis_stream_t stream);

/* The storage of rows: row r is the `stride` floats from storage[r * stride], its slots side by side,
 * each `dim` wide: [embedding | exp_avg | exp_avg_sq]. Rows at or above `bound` are passed over, and
 * with them RECIS_NO_ROW. `storage` is [bound, stride], `bound` at most RECIS_NO_ROW. */
typedef struct recis_rows {
  float *storage;
  int64_t bound;
  int64_t dim;
  int64_t stride; /* a multiple of dim */
} recis_rows;

/* Copies slot `slot` (below stride / dim) of each of `rows` [capacity] to `out` [capacity, dim]; zeros for
 * rows that are passed over. */
int recis_rows_gather(const recis_rows *storage, int64_t slot, const uint32_t *rows, int64_t capacity,
                      const uint32_t *count, float *out, recis_stream_t stream);
/* Writes `values` [capacity, dim] to a slot of each row. Rows must differ: of those that do not, the
 * contents are unspecified. */
int recis_rows_scatter(const recis_rows *storage, int64_t slot, const uint32_t *rows, int64_t capacity,
                       const uint32_t *count, const float *values, recis_stream_t stream);

typedef enum recis_distribution {
  RECIS_CONSTANT = 0, /* a */
  RECIS_UNIFORM = 1, /* a + (b - a) q */
  RECIS_NORMAL = 2, /* a + b probit(q): a is the mean, b the standard deviation */
  RECIS_TRUNC_NORMAL = 3 /* clamp(a + b probit(lower_q + q (upper_q - lower_q)), lower, upper) */
} recis_distribution;

/* A distribution of initial values, by its quantile function; q is uniform in (0, 1). */
typedef struct recis_initializer {
  recis_distribution distribution;
  double a, b;
  double lower_q, upper_q; /* the distribution function of the normal distribution at the bounds */
  double lower, upper;
} recis_initializer;

/* Gives rows their initial values, and zeros in the other slots: element c of row rows[i] is the
 * quantile at (word + 1/2) / 2^32, word being word c % 4 of the Philox4x32-10 block at counter
 * (ids[i], c / 4) under keys[t], in f64 without fused multiply-add, then rounded: the same bits on
 * every device. t is the logical table of place i by `table_offsets` [tables + 1]. Works on the places
 * i = places[j] for j < count[0], whose rows must differ; `places` is [capacity], `keys` [tables] is device
 * memory, `ids` and `rows` are [id_capacity], of which table_offsets[tables] count. */
int recis_rows_initialize(const recis_rows *storage, const recis_initializer *initializer, const uint64_t *keys,
                          const int64_t *ids, const uint32_t *rows, int64_t id_capacity,
                          const uint32_t *table_offsets, int64_t tables, const uint32_t *places,
                          int64_t capacity, const uint32_t *count, recis_stream_t stream);

/* A step of Adam on the rows of a step, which must differ (SparseAdamWTF, SparseAdamW, SparseAdam):
 *
 *   e *= decay;  m = m beta1 + g (1 - beta1);  v = v beta2 + (1 - beta2) g^2;  e += alpha m / (sqrt(v) + eps)
 *
 * for e, m, v in the slots 0, 1, 2 of each of `rows` [capacity] and g in `gradients` [capacity, dim]. The
 * stride is 3 dim. Of rows that do not differ, the contents are unspecified. alpha = -lr / (1 - beta1^t) sqrt(1 - beta2^t). */
int recis_sparse_adamw_step(const recis_rows *storage, const uint32_t *rows, int64_t capacity, const uint32_t *count,
                            const float *gradients, float alpha, float decay, float beta1, float beta2, float eps,
                            recis_stream_t stream);

/* Rows that differ and their gradients. */
typedef struct recis_gradients {
  const uint32_t *rows; /* [capacity] */
  const float *values; /* [capacity, dim] */
  const uint32_t *count; /* device memory; null: capacity */
  int64_t capacity;
} recis_gradients;

/* The rows of several lists, ascending, and for each the sum of its gradients (in the order of the
 * lists) divided by `steps`, which is above 0. RECIS_NO_ROW is passed over. `rows` [total], `values`
 * [total, dim] and count[0] take the result and are unspecified behind it; `total` is the sum of the
 * lists' capacities, below 2^31 - 1. At most 64 lists. */
int recis_merge_gradients_workspace_size(int64_t total, size_t *bytes);
int recis_merge_gradients_forward(const recis_gradients *lists, int64_t list_count, int64_t dim, float steps,
                                  uint32_t *rows, float *values, uint32_t *count, void *workspace,
                                  size_t workspace_bytes, recis_stream_t stream);

/* One feature's ids after their lookup, in segments: segment s holds the ids at the positions
 * first_id + offsets[s]..first_id + offsets[s+1], and the id at position p has the embedding
 * inverse[p]. `dim` is between 1 and 2^20, `segments` and first_id + capacity are below 2^31 - 1. */
typedef struct recis_lookup {
  const float *embeddings; /* [unique, dim] */
  const uint32_t *inverse; /* [first_id + capacity] at least */
  const int32_t *offsets; /* [segments + 1] */
  int64_t unique; /* places in `inverse` at or above this are passed over */
  int64_t dim;
  int64_t first_id;
  int64_t capacity; /* ids of the feature, at most */
  int64_t segments;
} recis_lookup;

/* What recis_partition_ids_forward says of the positions of each distinct id; backward sums over them
 * in their order, so that results are deterministic. `total` is at least the lookup's
 * first_id + capacity. */
typedef struct recis_occurrences {
  const uint32_t *positions; /* [total] */
  const uint32_t *starts; /* [total + 1] */
  const uint32_t *table_offsets; /* [tables + 1] */
  int64_t total;
  uint32_t table; /* the feature's logical table: only its ids are looked at */
} recis_occurrences;

/* What a segment's weighted sum of embeddings is divided by. */
typedef enum recis_denominator {
  RECIS_ONE = 0, /* nothing: the sum */
  RECIS_WEIGHTS = 1, /* the sum of the segment's weights */
  RECIS_COUNT = 2 /* the number of the segment's ids */
} recis_denominator;

/* A feature to combine. */
typedef struct recis_combined {
  recis_lookup lookup;
  const float *weights; /* [capacity], one an id of the feature; null: all 1 */
  recis_denominator denominator;
  int64_t first_column; /* of the feature's in the output */
} recis_combined;

/* Writes the weighted sum of each segment's embeddings over its denominator, 0 for an empty segment, to
 * out[s * out_stride + first_column + j] for j < dim of each feature; other columns are left as they are. `out`
 * is [segments, out_stride]; it need not be wider than the columns end. No two features may have a column in common.
 * Of weights that sum to 0, RECIS_WEIGHTS divides by 0 as IEEE does. */
int recis_combine_forward(const recis_combined *features, int64_t feature_count, float *out, int64_t out_stride,
                          recis_stream_t stream);
/* The gradient of a combined feature. */
typedef struct recis_combined_gradient {
  recis_combined feature;
  recis_occurrences occurrences;
  const float *d_out; /* [segments, out_stride], laid out as in forward */
  int64_t out_stride;
  float *d_embeddings; /* [unique, dim] of the feature's lookup */
} recis_combined_gradient;

/* Adds the gradient of each feature's embeddings, summed over the ids that share one, to its `d_embeddings`: in this
 * order where several add to the same ones, and the more in one launch, the fewer do. Arrays of different features'
 * gradients are the same or do not overlap. */
int recis_combine_backward_workspace_size(const recis_combined_gradient *gradients, int64_t gradient_count,
                                          size_t *bytes);
int recis_combine_backward(const recis_combined_gradient *gradients, int64_t gradient_count, void *workspace,
                           size_t workspace_bytes, recis_stream_t stream);

/* Writes the first `tile_len` embeddings of each segment side by side, zeros where it is shorter, to
 * the tile_len * dim columns of `out` [segments, out_stride] from first_column; others are left as they
 * are. tile_len * dim is at most 2^30. */
int recis_combine_tile_forward(const recis_lookup *lookup, int64_t tile_len, float *out, int64_t first_column,
                               int64_t out_stride, recis_stream_t stream);
/* Adds the gradient of the embeddings, as recis_combine_backward. */
int recis_combine_tile_backward_workspace_size(const recis_lookup *lookup, const recis_occurrences *occurrences,
                                               size_t *bytes);
int recis_combine_tile_backward(const recis_lookup *lookup, const recis_occurrences *occurrences, int64_t tile_len,
                                const float *d_out, int64_t first_column, int64_t out_stride, float *d_embeddings,
                                void *workspace, size_t workspace_bytes, recis_stream_t stream);

/* How exactly products of matrices are computed. Arrays and sums are f32 whichever it is; within an operation,
 * what is between two products or sums may be kept as finely as factors are rounded. */
typedef enum recis_precision {
  RECIS_FP32 = 0, /* as f32 rounds, also where tensor cores are used: each number as the sum of two of TF32, or
                     of two half floats. There an infinity may become NaN */
  RECIS_TF32 = 1, /* factors are rounded to TF32, 10 bits of fraction, or as finely to half floats */
  RECIS_BF16 = 2 /* factors are rounded to bfloat16, 7 bits of fraction */
} recis_precision;

/* A fully connected layer. The order of sums is unspecified, and the same for the same size. Small products
 * are computed in f32 whatever the precision. */
typedef struct recis_linear_size {
  int64_t rows, inputs, outputs; /* inputs and outputs at least 1 */
  recis_precision precision;
} recis_linear_size;

/* y = x W^T + b: x [rows, inputs], weight W [outputs, inputs], bias b [outputs], y [rows, outputs]; d_x,
 * d_weight, d_bias and d_y likewise. One workspace size serves the three passes. */
int recis_linear_workspace_size(const recis_linear_size *size, size_t *bytes);
int recis_linear_forward(const float *x, const float *weight, const float *bias, float *y,
                         const recis_linear_size *size, void *workspace, size_t workspace_bytes,
                         recis_stream_t stream);
/* d_weight = d_y^T x and d_bias = the sum of d_y over the rows; added to what is there if
 * `accumulate`. */
int recis_linear_backward_weight(const float *x, const float *d_y, float *d_weight, float *d_bias,
                                 const recis_linear_size *size, int accumulate, void *workspace,
                                 size_t workspace_bytes, recis_stream_t stream);
/* The part of it that is d_bias. */
int recis_linear_backward_bias(const float *d_y, float *d_bias, const recis_linear_size *size, int accumulate,
                               recis_stream_t stream);
/* d_x = d_y W. */
int recis_linear_backward_input(const float *d_y, const float *weight, float *d_x, const recis_linear_size *size,
                                void *workspace, size_t workspace_bytes, recis_stream_t stream);

/* Columns of a layer's input that are materialised. */
typedef struct recis_dense_columns {
  const float *x; /* [rows, width] */
  int64_t width;
  int64_t first_column;
} recis_dense_columns;

/* Columns of a layer's input that are gathered: position k of a row takes the columns from
 * first_column + k * dim; ids beyond tile_len are dropped, missing ones count as zeros. A segment is a
 * row. */
typedef struct recis_tile {
  recis_lookup lookup;
  int64_t tile_len;
  int64_t first_column;
  const uint32_t *range; /* [2] where the tile's places begin and end in `embeddings`; places elsewhere may
                            count as missing. Null: 0 and `unique` */
} recis_tile;

/* recis_linear_forward on the concatenation of `dense` and `tiles` (at most 16 each), which is never
 * written. Their columns do not overlap (checked); columns that none covers count as zero. The workspace
 * size serves all passes of the layer but backward_tiles(), which has its own. */
int recis_linear_tile_workspace_size(const recis_dense_columns *dense, int64_t dense_count, const recis_tile *tiles,
                                     int64_t tile_count, const recis_linear_size *size, size_t *bytes);
/* A layer's factors as the tensor cores of some devices want them, for all passes over one batch; there wide
 * layers take two thirds of the time. The size is 0 where a device or a layer has no use for it: null then
 * does for `prepared`, as it does wherever nothing shall be prepared. Before forward, prepare() fills the memory,
 * aligned to 16 bytes, with what it makes of the weight and of where ids lead; it does not read `x` and
 * `embeddings`, which may come later. prepare_inputs() adds these; before the backward passes, prepare_backward()
 * adds what they want of d_y. All passes get it with the inputs and the size that it was made for, or tiles of them;
 * they take the weight, the inputs and d_y from it, and are given these all the same; but backward_tiles() may
 * be given a null for the weight, which may then have changed. In RECIS_FP32 and RECIS_TF32 a factor is then
 * two half floats or one, times a power of two that numbers near it share: as exact as promised down to 2^-17
 * (2^-28) of the largest of 128 x 32 (128 x 64) neighbours in the weight, of d_y's in 32 (64) rows, or of a
 * tile's embeddings; below, a number loses a bit whenever it halves. Numbers are below 2^122, products of the
 * largest of both below 2^128, and above 2^-120 unless they do not count. */
int recis_linear_tile_prepare_size(const recis_dense_columns *dense, int64_t dense_count, const recis_tile *tiles,
                                   int64_t tile_count, const recis_linear_size *size, size_t *bytes);
int recis_linear_tile_prepare(const recis_dense_columns *dense, int64_t dense_count, const recis_tile *tiles,
                              int64_t tile_count, const float *weight, const recis_linear_size *size,
                              void *prepared, size_t prepared_bytes, recis_stream_t stream);
int recis_linear_tile_prepare_inputs(const recis_dense_columns *dense, int64_t dense_count, const recis_tile *tiles,
                                     int64_t tile_count, const recis_linear_size *size, void *prepared,
                                     size_t prepared_bytes, recis_stream_t stream);
int recis_linear_tile_prepare_backward(const float *d_y, const recis_linear_size *size, void *prepared,
                                       size_t prepared_bytes, recis_stream_t stream);
int recis_linear_tile_forward(const recis_dense_columns *dense, int64_t dense_count, const recis_tile *tiles,
                              int64_t tile_count, const float *weight, const float *bias, float *y,
                              const recis_linear_size *size, void *prepared, size_t prepared_bytes,
                              void *workspace, size_t workspace_bytes, recis_stream_t stream);
/* As recis_linear_backward_weight, d_weight alone: recis_linear_backward_bias may run beside it. Columns that no input
 * covers are left as they are. */
int recis_linear_tile_backward_weight(const recis_dense_columns *dense, int64_t dense_count,
                                      const recis_tile *tiles, int64_t tile_count, const float *d_y,
                                      float *d_weight, const recis_linear_size *size, int accumulate,
                                      void *prepared, size_t prepared_bytes, void *workspace,
                                      size_t workspace_bytes, recis_stream_t stream);
/* The gradient of materialised columns: d_x [rows, width] = d_y W[:, first_column..first_column + width]. */
int recis_linear_tile_backward_dense(const float *d_y, const float *weight, float *d_x, int64_t width,
                                     int64_t first_column, const recis_linear_size *size, void *workspace,
                                     size_t workspace_bytes, recis_stream_t stream);
/* Sums the gradients of tiles' embeddings over the ids that share one: of tiles of the same embeddings, and with
 * prepared factors of theirs, else of nothing. Repeatable to the bit unless `unordered`: terms are summed in the workspace
 * as whole numbers of 64 bits, in a unit below 2^-59 n of the largest product of a row of d_y and a column of the tile as
 * vectors; with RECIS_TF32 or RECIS_BF16 and factors that are prepared, and at most 4096 of one id, of 32 bits, in classes
 * of rows and columns by that product: in a unit below 2^-14 (2^-11) of a term's own, as far as it is not below 2^-16 of
 * the largest. n is how often an id occurs, at most. Before each of them begin_tiles(), given the same tiles, size, bytes that
 * are prepared and workspace, clears the sums, on another stream if one likes; it reads the tiles' ranges alone. Behind it
 * finish_tiles(), given the same, adds them to `d_embeddings` [unique, dim], which until then nobody reads or writes here,
 * and which may be null. `unordered` adds floats to `d_embeddings` in whatever order they come; it begins and finishes nothing.
 * The workspace's size is for as many bytes as are prepared: 0 if nothing is. */
int recis_linear_tile_backward_tiles_workspace_size(const recis_tile *tiles, int64_t tile_count,
                                                    const recis_linear_size *size, int unordered,
                                                    size_t prepared_bytes, size_t *bytes);
int recis_linear_tile_begin_tiles(const recis_tile *tiles, int64_t tile_count, const recis_linear_size *size,
                                  size_t prepared_bytes, void *workspace, size_t workspace_bytes,
                                  recis_stream_t stream);
int recis_linear_tile_backward_tiles(const recis_tile *tiles, int64_t tile_count, const float *d_y,
                                     const float *weight, float *d_embeddings, const recis_linear_size *size,
                                     int unordered, void *prepared, size_t prepared_bytes, void *workspace,
                                     size_t workspace_bytes, recis_stream_t stream);
int recis_linear_tile_finish_tiles(const recis_tile *tiles, int64_t tile_count, float *d_embeddings,
                                   const recis_linear_size *size, size_t prepared_bytes, void *workspace,
                                   size_t workspace_bytes, recis_stream_t stream);

/* Binary cross-entropy of probabilities, averaged over `count` rows (1 to 2^32), torch's BCELoss:
 *
 *   loss[0]         = -1/count sum (y max(ln p, -100) + (1 - y) max(ln(1 - p), -100)), summed in f64
 *   d_prediction[i] = (p - y) / max(p (1 - p), 1e-12) / count; may be null
 *
 * `unfit`: see recis_copy_column; here for predictions outside [0, 1] or NaN. */
int recis_bce_forward(const float *prediction, const float *label, int64_t count, float *loss, float *d_prediction,
                      uint64_t *unfit, recis_stream_t stream);

/* A layer of recis_mlp_train: recis_linear_forward's, and the gradients of its parameters. */
typedef struct recis_mlp_layer {
  const float *weight, *bias;
  float *d_weight, *d_bias;
  int64_t inputs, outputs; /* 1 to 256 */
} recis_mlp_layer;

/* A training step of the small layers behind a network's first one, with the loss, in f32:
 *
 *   y_0 = relu(x)   y_l = relu(y_(l-1) W_l^T + b_l)   prediction = sigmoid(y_(n-1) W_n^T + b_n)
 *
 * and recis_bce_forward's loss of the prediction: x [rows, inputs of the first layer], label [rows], rows
 * 1 to 2^32; prediction [rows], loss [1], and the gradients d_x like x and d_weight, d_bias of every layer,
 * the latter two added to what is there if `accumulate`. `unfit`: see recis_bce_forward. train() leaves the loss and the
 * parameters' gradients in parts in the workspace, and takes d_weight and d_bias, but does not touch them; behind it finish(),
 * given the same layers, rows and workspace, adds the parts up, on another stream if one likes: what wants d_x does not have
 * to wait for it.
 * 1 to 4 layers, each taking what the one before gives, the last giving 1. They must fit into 99 KiB of
 * shared memory: 8 KiB, 32 bytes for each layer's inputs and for the prediction, and 4 for each parameter,
 * where an odd number of inputs counts as one more. */
int recis_mlp_workspace_size(const recis_mlp_layer *layers, int64_t layer_count, int64_t rows, size_t *bytes);
int recis_mlp_train(const float *x, const float *label, const recis_mlp_layer *layers, int64_t layer_count,
                    int64_t rows, float *prediction, float *d_x, uint64_t *unfit, void *workspace,
                    size_t workspace_bytes, recis_stream_t stream);
int recis_mlp_finish(const recis_mlp_layer *layers, int64_t layer_count, int64_t rows, float *loss, int accumulate,
                     void *workspace, size_t workspace_bytes, recis_stream_t stream);

/* Adds a batch to counts at ascending thresholds [threshold_count]: a prediction is positive if it is
 * strictly above a threshold, a label if it is not 0. `counts` is [4, threshold_count]: true positives,
 * false positives, true negatives, false negatives. At most 4096 thresholds. */
int recis_auroc_update(const float *prediction, const float *label, int64_t count, const float *thresholds,
                       int64_t threshold_count, int64_t *counts, recis_stream_t stream);

/* Copies a dense column [rows, width], rounded to f32, to out[r * out_stride + first_column + j]; other
 * columns of `out` [rows, out_stride] are left as they are. At most 2^32 rows.
 * `unfit[0]` becomes the least (row << 32 | bits of the f32 value) over the values that are NaN or
 * infinite, if that is below what it holds: begin with UINT64_MAX, and read it when it suits. */
int recis_copy_column_f32(const float *values, int64_t rows, int64_t width, float *out, int64_t first_column,
                          int64_t out_stride, uint64_t *unfit, recis_stream_t stream);
int recis_copy_column_f64(const double *values, int64_t rows, int64_t width, float *out, int64_t first_column,
                          int64_t out_stride, uint64_t *unfit, recis_stream_t stream);
int recis_copy_column_i64(const int64_t *values, int64_t rows, int64_t width, float *out, int64_t first_column,
                          int64_t out_stride, uint64_t *unfit, recis_stream_t stream);

/* The layout of the structs as this compiler sees it, to compare with recis_abi_layout(): the FNV-1a hash
 * of these numbers. What is not in it: a change of meaning, of an enum's numbers, or of a field's type
 * for another of the same size. RECIS_ABI_VERSION is for those. */
#define RECIS_SIZE(type) sizeof(type)
#define RECIS_FIELD(type, field) offsetof(type, field), sizeof(((type *)0)->field)

static inline uint64_t recis_header_layout(void) {
  const size_t numbers[] = {
    RECIS_SIZE(recis_status), RECIS_SIZE(recis_side), RECIS_SIZE(recis_owner), RECIS_SIZE(recis_precision),
    RECIS_SIZE(recis_hash_table_counter), RECIS_SIZE(recis_distribution), RECIS_SIZE(recis_denominator),
    RECIS_SIZE(recis_adamw_parameter), RECIS_FIELD(recis_adamw_parameter, value),
    RECIS_FIELD(recis_adamw_parameter, exp_avg), RECIS_FIELD(recis_adamw_parameter, exp_avg_sq),
    RECIS_FIELD(recis_adamw_parameter, gradient), RECIS_FIELD(recis_adamw_parameter, count),
    RECIS_SIZE(recis_ragged), RECIS_FIELD(recis_ragged, values), RECIS_FIELD(recis_ragged, offsets),
    RECIS_FIELD(recis_ragged, weights), RECIS_FIELD(recis_ragged, rows),
    RECIS_FIELD(recis_ragged, capacity), RECIS_SIZE(recis_ids_column),
    RECIS_FIELD(recis_ids_column, ids), RECIS_FIELD(recis_ids_column, offsets),
    RECIS_FIELD(recis_ids_column, rows), RECIS_FIELD(recis_ids_column, capacity),
    RECIS_FIELD(recis_ids_column, first), RECIS_FIELD(recis_ids_column, table), RECIS_SIZE(recis_rows),
    RECIS_FIELD(recis_rows, storage), RECIS_FIELD(recis_rows, bound), RECIS_FIELD(recis_rows, dim),
    RECIS_FIELD(recis_rows, stride), RECIS_SIZE(recis_initializer),
    RECIS_FIELD(recis_initializer, distribution), RECIS_FIELD(recis_initializer, a),
    RECIS_FIELD(recis_initializer, b), RECIS_FIELD(recis_initializer, lower_q),
    RECIS_FIELD(recis_initializer, upper_q), RECIS_FIELD(recis_initializer, lower),
    RECIS_FIELD(recis_initializer, upper), RECIS_SIZE(recis_gradients),
    RECIS_FIELD(recis_gradients, rows), RECIS_FIELD(recis_gradients, values),
    RECIS_FIELD(recis_gradients, count), RECIS_FIELD(recis_gradients, capacity),
    RECIS_SIZE(recis_lookup), RECIS_FIELD(recis_lookup, embeddings), RECIS_FIELD(recis_lookup, inverse),
    RECIS_FIELD(recis_lookup, offsets), RECIS_FIELD(recis_lookup, unique),
    RECIS_FIELD(recis_lookup, dim), RECIS_FIELD(recis_lookup, first_id),
    RECIS_FIELD(recis_lookup, capacity), RECIS_FIELD(recis_lookup, segments),
    RECIS_SIZE(recis_occurrences), RECIS_FIELD(recis_occurrences, positions),
    RECIS_FIELD(recis_occurrences, starts), RECIS_FIELD(recis_occurrences, table_offsets),
    RECIS_FIELD(recis_occurrences, total), RECIS_FIELD(recis_occurrences, table),
    RECIS_SIZE(recis_combined), RECIS_FIELD(recis_combined, lookup),
    RECIS_FIELD(recis_combined, weights), RECIS_FIELD(recis_combined, denominator),
    RECIS_FIELD(recis_combined, first_column),
    RECIS_SIZE(recis_combined_gradient), RECIS_FIELD(recis_combined_gradient, feature),
    RECIS_FIELD(recis_combined_gradient, occurrences), RECIS_FIELD(recis_combined_gradient, d_out),
    RECIS_FIELD(recis_combined_gradient, out_stride), RECIS_FIELD(recis_combined_gradient, d_embeddings),
    RECIS_SIZE(recis_linear_size), RECIS_FIELD(recis_linear_size, rows),
    RECIS_FIELD(recis_linear_size, inputs), RECIS_FIELD(recis_linear_size, outputs),
    RECIS_FIELD(recis_linear_size, precision),
    RECIS_SIZE(recis_dense_columns), RECIS_FIELD(recis_dense_columns, x),
    RECIS_FIELD(recis_dense_columns, width), RECIS_FIELD(recis_dense_columns, first_column),
    RECIS_SIZE(recis_tile), RECIS_FIELD(recis_tile, lookup), RECIS_FIELD(recis_tile, tile_len),
    RECIS_FIELD(recis_tile, first_column), RECIS_FIELD(recis_tile, range), RECIS_SIZE(recis_mlp_layer),
    RECIS_FIELD(recis_mlp_layer, weight), RECIS_FIELD(recis_mlp_layer, bias),
    RECIS_FIELD(recis_mlp_layer, d_weight), RECIS_FIELD(recis_mlp_layer, d_bias),
    RECIS_FIELD(recis_mlp_layer, inputs), RECIS_FIELD(recis_mlp_layer, outputs)
  };
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); ++i)
    hash = (hash ^ numbers[i]) * UINT64_C(0x100000001b3);
  return hash;
}

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif

#endif
