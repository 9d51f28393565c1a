/* Looks up a batch of ids with duplicates in a hash table, and gathers their embeddings. */
#include "memory.h"
#include "recis.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { IDS = 8, DISTINCT = 5, DIM = 4, ROOM = 64 };
static const int64_t ids[IDS] = {7, -3, 7, 1ll << 60, 0, -3, 7, 42};

static void check(int status) {
  if (status == RECIS_OK) return;
  fprintf(stderr, "%s\n", recis_last_error());
  exit(1);
}

static void expect(int holds, const char *what) {
  if (holds) return;
  fprintf(stderr, "wrong: %s\n", what);
  exit(1);
}

int main(void) {
  expect(recis_abi_version() == RECIS_ABI_VERSION, "the library has another ABI version than the header");
  expect(recis_abi_layout() == recis_header_layout(), "the library lays its structs out differently");

  const recis_stream_t stream = NULL;
  int64_t *d_ids = to_device(ids, sizeof(ids)), *d_distinct = to_device(NULL, sizeof(ids));
  uint32_t *d_table_offsets = to_device(NULL, 2 * sizeof(uint32_t));
  uint32_t *d_inverse = to_device(NULL, IDS * sizeof(uint32_t));
  uint32_t *d_positions = to_device(NULL, IDS * sizeof(uint32_t));
  uint32_t *d_starts = to_device(NULL, (IDS + 1) * sizeof(uint32_t));

  /* The distinct ids, and which of them each position holds. */
  const recis_ids_column column = {d_ids, NULL, 0, IDS, 0, 0};
  size_t bytes = 0;
  check(recis_partition_ids_workspace_size(IDS, 1, IDS, &bytes));
  void *workspace = to_device(NULL, bytes);
  check(recis_partition_ids_forward(&column, 1, 1, IDS, IDS, d_distinct, d_table_offsets, d_inverse, d_positions,
                                    d_starts, NULL, workspace, bytes, stream));

  /* Their rows; those that are new get one. */
  recis_hash_table *table = NULL;
  check(recis_hash_table_create(ROOM, &table, stream));
  uint32_t *d_rows = to_device(NULL, IDS * sizeof(uint32_t));
  uint32_t *d_new = to_device(NULL, IDS * sizeof(uint32_t));
  uint32_t *d_new_count = to_device(NULL, sizeof(uint32_t));
  check(recis_hash_table_find_or_insert(table, d_distinct, d_table_offsets, 1, IDS, d_rows, d_new,
                                        d_new_count, NULL, stream));

  /* New rows begin with uniform numbers, which depend on key and id alone. */
  const uint64_t key = 1234;
  uint64_t *d_key = to_device(&key, sizeof(key));
  const recis_rows storage = {to_device(NULL, ROOM * DIM * sizeof(float)), ROOM, DIM, DIM};
  const recis_initializer uniform = {RECIS_UNIFORM, -0.1, 0.1, 0, 0, 0, 0};
  check(recis_rows_initialize(&storage, &uniform, d_key, d_distinct, d_rows, IDS, d_table_offsets, 1, d_new,
                              IDS, d_new_count, stream));
  float *d_embeddings = to_device(NULL, IDS * DIM * sizeof(float));
  check(recis_rows_gather(&storage, 0, d_rows, IDS, NULL, d_embeddings, stream));

  float embeddings[IDS][DIM];
  int64_t distinct[IDS];
  uint32_t inverse[IDS], table_offsets[2], new_count;
  to_host(embeddings, d_embeddings, sizeof(embeddings));
  to_host(distinct, d_distinct, sizeof(distinct));
  to_host(inverse, d_inverse, sizeof(inverse));
  to_host(table_offsets, d_table_offsets, sizeof(table_offsets));
  to_host(&new_count, d_new_count, sizeof(new_count));

  expect(table_offsets[1] == DISTINCT && new_count == DISTINCT, "5 ids are distinct, and new");
  for (int i = 0; i < IDS; ++i) {
    expect(inverse[i] < DISTINCT && distinct[inverse[i]] == ids[i], "each position finds its id");
    const float *embedding = embeddings[inverse[i]];
    for (int c = 0; c < DIM; ++c) expect(embedding[c] > -0.1f && embedding[c] < 0.1f, "values within the bounds");
    printf("%20lld  %8.5f %8.5f %8.5f %8.5f\n", (long long)ids[i], embedding[0], embedding[1], embedding[2],
           embedding[3]);
  }

  check(recis_hash_table_destroy(table));
  void *memory[] = {d_ids,  d_distinct, d_table_offsets, d_inverse, d_positions,     d_starts,    workspace,
                    d_rows, d_new,      d_new_count,     d_key,     storage.storage, d_embeddings};
  for (size_t i = 0; i < COUNT(memory); ++i) device_release(memory[i]);
  printf("lookup: %d ids, %u distinct\n", IDS, new_count);
  return 0;
}
