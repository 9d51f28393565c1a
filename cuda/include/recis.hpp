// recis.h for C++17: errors as exceptions, spans that check sizes, a hash table that frees itself.
//
// Every function of recis.h is called as it is; recis::check() makes an exception of its status. Who
// prefers statuses leaves check() out, and calls HashTable::create and the functions on table.get().
#pragma once

#include "recis.h"

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace recis {
// A program may hold parts that were compiled with different versions of this header.
inline namespace abi_1 {
static_assert(RECIS_ABI_VERSION == 1, "name the inline namespace after RECIS_ABI_VERSION");

// What a call has refused or failed to do; what() is recis_last_error().
class Error : public std::runtime_error {
 public:
  Error(int status, const std::string& what) : std::runtime_error(what), status_(recis_status(status)) {}
  recis_status status() const noexcept { return status_; }

 private:
  recis_status status_;
};

// Throws an Error unless a call went well: check(recis_modulo_forward(...)).
inline void check(int status) {
  if (status != RECIS_OK) throw Error(status, recis_last_error());
}

// Throws an Error unless the library is of this header's version and layout. Once, before anything else.
inline void check_abi() {
  if (recis_abi_version() != RECIS_ABI_VERSION)
    throw Error(RECIS_INVALID_ARGUMENT, "recis: the header has ABI version " + std::to_string(RECIS_ABI_VERSION) +
                                            ", the library " + std::to_string(recis_abi_version()));
  if (recis_abi_layout() != recis_header_layout())
    throw Error(RECIS_INVALID_ARGUMENT, "recis: header and library lay structs out differently: are both of "
                                        "the same build?");
}

// Device memory that is somebody else's: where it begins, and how many elements it has.
template <class T>
class Span {
 public:
  constexpr Span() noexcept = default;
  constexpr Span(T* data, int64_t size) noexcept : data_(data), size_(size) {}
  // Span<T> is a Span<const T>.
  template <class U, class = std::enable_if_t<std::is_convertible_v<U (*)[], T (*)[]>>>
  constexpr Span(Span<U> other) noexcept : data_(other.data()), size_(other.size()) {}

  constexpr T* data() const noexcept { return data_; }
  constexpr int64_t size() const noexcept { return size_; }
  // `count` elements from `first`, which must be there. Mind that most functions need 16-byte alignment.
  Span subspan(int64_t first, int64_t count) const {
    if (first < 0 || count < 0 || first > size_ || count > size_ - first)
      throw Error(RECIS_INVALID_ARGUMENT, "recis: a subspan reaches beyond its span");
    return {data_ + first, count};
  }

 private:
  T* data_ = nullptr;
  int64_t size_ = 0;
};

// Throws an Error if an array that must have `size` elements has fewer.
template <class T>
void check_size(Span<T> span, int64_t size, const char* name) {
  if (span.size() >= size) return;
  throw Error(RECIS_INVALID_ARGUMENT, std::string("recis: ") + name + " has " + std::to_string(span.size()) +
                                          " elements, " + std::to_string(size) + " are needed");
}

// How much scratch memory a call needs: workspace_size(recis_partition_ids_workspace_size, total, tables, listed).
template <class Function, class... Arguments>
size_t workspace_size(Function function, Arguments... arguments) {
  size_t bytes = 0;
  check(function(arguments..., &bytes));
  return bytes;
}

// Distinct ids by logical table, as recis_partition_ids_forward gives them.
struct Ids {
  Span<const int64_t> ids;
  Span<const uint32_t> table_offsets;  // [tables + 1]

  int64_t tables() const noexcept { return table_offsets.size() - 1; }
};

// Owns a recis_hash_table. Calls enqueue work on the stream, and are documented in recis.h.
class HashTable {
 public:
  HashTable() noexcept = default;
  HashTable(int64_t ids, recis_stream_t stream) { check(create(ids, stream, *this)); }
  // The same with a status; a table that `table` held is freed.
  static int create(int64_t ids, recis_stream_t stream, HashTable& table) noexcept {
    recis_hash_table* made = nullptr;
    const int status = recis_hash_table_create(ids, &made, stream);
    if (status == RECIS_OK) table = HashTable(made);
    return status;
  }
  // Takes over a table from recis_hash_table_create.
  explicit HashTable(recis_hash_table* table) noexcept : table_(table) {}
  HashTable(HashTable&& other) noexcept : table_(other.release()) {}
  HashTable& operator=(HashTable&& other) noexcept {
    if (this != &other) recis_hash_table_destroy(std::exchange(table_, other.release()));
    return *this;
  }
  ~HashTable() { recis_hash_table_destroy(table_); }

  recis_hash_table* get() const noexcept { return table_; }
  // Gives the table up: the caller frees it.
  recis_hash_table* release() noexcept { return std::exchange(table_, nullptr); }

  int64_t capacity() const noexcept { return recis_hash_table_capacity(table_); }
  void reserve(int64_t ids, recis_stream_t stream) { check(recis_hash_table_reserve(table_, ids, stream)); }

  void find(Ids ids, Span<uint32_t> rows, recis_stream_t stream) const {
    check_size(rows, ids.ids.size(), "rows");
    check(recis_hash_table_find(table_, ids.ids.data(), ids.table_offsets.data(), ids.tables(), ids.ids.size(),
                                rows.data(), stream));
  }
  void find_or_insert(Ids ids, Span<uint32_t> rows, Span<uint32_t> new_ids, Span<uint32_t> new_count,
                      recis_stream_t stream) {
    check_size(rows, ids.ids.size(), "rows");
    check_size(new_ids, ids.ids.size(), "new_ids");
    check_size(new_count, 1, "new_count");
    check(recis_hash_table_find_or_insert(table_, ids.ids.data(), ids.table_offsets.data(), ids.tables(),
                                          ids.ids.size(), rows.data(), new_ids.data(), new_count.data(), nullptr,
                                          stream));
  }
  void erase(Ids ids, recis_stream_t stream) {
    check(recis_hash_table_erase(table_, ids.ids.data(), ids.table_offsets.data(), ids.tables(), ids.ids.size(),
                                 stream));
  }
  void counters(Span<int64_t> counters, recis_stream_t stream) const {
    check_size(counters, RECIS_TABLE_COUNTERS, "counters");
    check(recis_hash_table_counters(table_, counters.data(), stream));
  }
  void size(Span<int64_t> counts, recis_stream_t stream) const {
    check(recis_hash_table_size(table_, counts.size(), counts.data(), stream));
  }
  // At most as many as `ids` and `rows` have room for.
  void export_ids(uint32_t logical_table, Span<int64_t> ids, Span<uint32_t> rows, Span<int64_t> count,
                  recis_stream_t stream) const {
    check_size(rows, ids.size(), "rows");
    check_size(count, 1, "count");
    check(recis_hash_table_export(table_, logical_table, ids.size(), ids.data(), rows.data(), count.data(), stream));
  }

 private:
  recis_hash_table* table_ = nullptr;
};

// The structs of recis.h from spans.

inline recis_ragged ragged(Span<const int64_t> values, Span<const int32_t> offsets,
                           Span<const float> weights = {}) {
  check_size(offsets, 1, "offsets");
  if (weights.data()) check_size(weights, values.size(), "weights");
  return {values.data(), offsets.data(), weights.data(), offsets.size() - 1, values.size()};
}

inline recis_rows rows(Span<float> storage, int64_t dim, int64_t slots) {
  if (dim < 1 || slots < 1) throw Error(RECIS_INVALID_ARGUMENT, "recis: dim or slots is below 1");
  return {storage.data(), storage.size() / (dim * slots), dim, dim * slots};
}

// A feature whose ids are at the positions from first_id; `capacity` of them at most.
inline recis_lookup lookup(Span<const float> embeddings, int64_t dim, Span<const uint32_t> inverse,
                           Span<const int32_t> offsets, int64_t first_id, int64_t capacity) {
  if (dim < 1) throw Error(RECIS_INVALID_ARGUMENT, "recis: dim is below 1");
  if (first_id < 0 || capacity < 0) throw Error(RECIS_INVALID_ARGUMENT, "recis: first_id or capacity is negative");
  check_size(offsets, 1, "offsets");
  check_size(inverse, first_id + capacity, "inverse");
  return {embeddings.data(), inverse.data(), offsets.data(), embeddings.size() / dim,
          dim,               first_id,       capacity,       offsets.size() - 1};
}

inline recis_occurrences occurrences(Span<const uint32_t> positions, Span<const uint32_t> starts,
                                     Span<const uint32_t> table_offsets, uint32_t table) {
  check_size(starts, positions.size() + 1, "starts");
  check_size(table_offsets, int64_t(table) + 2, "table_offsets");
  return {positions.data(), starts.data(), table_offsets.data(), positions.size(), table};
}

}  // namespace abi_1
}  // namespace recis
