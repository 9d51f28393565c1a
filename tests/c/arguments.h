/* What the program of make_arguments.py calls. All arrays lie in one piece of memory, which must be the same
 * after every call that is refused.
 *
 *   arguments            on the device that there is, or on the CPU (RECIS_SIMT)
 *   arguments --none     where there is neither driver nor device: right calls must give RECIS_CUDA_ERROR
 */
#include "recis.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARRAYS = 32, ARRAY_BYTES = 4096, WORKSPACE = 1 << 20, BYTES = ARRAYS * ARRAY_BYTES + WORKSPACE };

static int no_device, refused, accepted, mistakes;
static unsigned char *memory, *seen;
static void *workspace;
static recis_hash_table *table, *made;
static size_t bytes;

#ifdef RECIS_SIMT
static void *device_memory(void) { return calloc(1, BYTES); }
static void device_read(void *to, const void *from) { memcpy(to, from, BYTES); }
static void device_clear(void *at) { memset(at, 0, BYTES); }
#else
#include <cuda_runtime_api.h>
static void *device_memory(void) {
  void *at = NULL;
  if (no_device) return calloc(1, BYTES); /* launches fail before anything reads it */
  return cudaMalloc(&at, BYTES) ? NULL : at;
}
static void device_read(void *to, const void *from) {
  if (no_device) memcpy(to, from, BYTES);
  else cudaMemcpy(to, from, BYTES, cudaMemcpyDefault);
}
static void device_clear(void *at) {
  if (no_device) memset(at, 0, BYTES);
  else cudaMemset(at, 0, BYTES);
}
#endif

/* All zeros: offsets of empty rows, ids 0, counts 0, all of them valid. */
static void *array(int number) { return memory + number * ARRAY_BYTES; }
static void *misaligned(void) { return memory + 4; }

static void wrong(const char *function, const char *what, const char *why) {
  fprintf(stderr, "wrong: %s, %s: %s (%s)\n", function, what, why, recis_last_error());
  ++mistakes;
}

/* Whether the last error names the operation: recis_modulo_forward is "modulo.forward". */
static int names(const char *function) {
  const char *error = recis_last_error(), *name = function + strlen("recis_");
  for (; *name; ++name, ++error)
    if (*error != *name && !(*name == '_' && *error == '.')) return 0;
  return *error == ':';
}

static int is_untouched(void) {
  size_t i = 0;
  device_read(seen, memory);
  while (i < BYTES && seen[i] == 0) ++i;
  return i == BYTES && bytes == 12345;
}

/* Without a device there is no table, and that is what calls on one say first. */
static int lacks_table(const char *function) {
  const int takes_one = strncmp(function, "recis_hash_table_", 17) == 0;
  return no_device && takes_one && strstr(recis_last_error(), "table is null");
}

static void refuse_with(const char *function, const char *what, const char *message, int status, int wanted) {
  ++refused;
  if (status != wanted) wrong(function, what, "has another status");
  else if (!names(function)) wrong(function, what, "the message names another operation");
  else if (!strstr(recis_last_error(), message) && !lacks_table(function))
    wrong(function, what, "the message does not say it");
  if (!is_untouched()) wrong(function, what, "something was touched");
  device_clear(memory);
  bytes = 12345;
}

static void refuse(const char *function, const char *what, const char *message, int status) {
  refuse_with(function, what, message, status, RECIS_INVALID_ARGUMENT);
}

/* Memory that is there but not as it must be is an invalid argument; too little has a status of its own. */
static void refuse_workspace(const char *function, const char *what, int status) {
  const int wanted = strstr(what, "bytes") ? RECIS_WORKSPACE_TOO_SMALL : RECIS_INVALID_ARGUMENT;
  if (no_device && status == RECIS_CUDA_ERROR) refuse_with(function, what, "", status, RECIS_CUDA_ERROR);
  else refuse_with(function, what, "workspace", status, wanted);
}

/* Some need a device to know how much scratch memory it takes. */
static void answer_ok(const char *function, int status) {
  ++accepted;
  if (status != RECIS_OK && !(no_device && status == RECIS_CUDA_ERROR && names(function) && bytes == 12345))
    wrong(function, "a right call", "is refused");
  bytes = 12345;
}

static void accept(const char *function, int status) {
  ++accepted;
  if (status == RECIS_INVALID_ARGUMENT && lacks_table(function)) return;
  if (status != (no_device ? RECIS_CUDA_ERROR : RECIS_OK)) wrong(function, "a right call", "another status");
  else if (no_device && !names(function)) wrong(function, "a right call", "the message names another");
  device_read(seen, memory);
  device_clear(memory);
}

static void answer(const char *function, uint64_t value) {
  const int is_right = strcmp(function, "recis_abi_version") == 0  ? value == RECIS_ABI_VERSION
                       : strcmp(function, "recis_abi_layout") == 0 ? value == recis_header_layout()
                       : strcmp(function, "recis_last_error") == 0 ? value != 0
                                                                   : no_device || value >= 64; /* capacity */
  ++accepted;
  if (!is_right) wrong(function, "a right call", "another answer");
}

static void begin(int count, char **arguments) {
  no_device = count > 1 && strcmp(arguments[1], "--none") == 0;
  memory = device_memory();
  seen = malloc(BYTES);
  if (!memory || !seen) exit((fprintf(stderr, "no memory\n"), 1));
  memory += (16 - (uintptr_t)memory % 16) % 16;
  workspace = memory + ARRAYS * ARRAY_BYTES;
  bytes = 12345;
  accept("recis_hash_table_create", recis_hash_table_create(64, &table, NULL));
  refuse("recis_hash_table_create", "ids = -1", "negative", recis_hash_table_create(-1, &made, NULL));
  refuse("recis_hash_table_create", "table = NULL", "null", recis_hash_table_create(8, NULL, NULL));
}

static int end(void) {
  answer_ok("recis_hash_table_destroy", recis_hash_table_destroy(table));
  answer_ok("recis_hash_table_destroy", recis_hash_table_destroy(NULL));
  printf("arguments: %d right calls, %d wrong ones refused, %d mistakes\n", accepted, refused, mistakes);
  return mistakes != 0;
}
