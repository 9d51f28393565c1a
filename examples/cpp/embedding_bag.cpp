// A step of an embedding bag on the kernels: ids are looked up in a hash table, rows averaged, their
// gradients summed, and the rows updated by AdamW. Every result is checked against plain loops.
#include "../c/memory.h"
#include "recis.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <vector>

namespace {

constexpr recis_stream_t kStream = nullptr;
constexpr int64_t kDim = 8, kBags = 64, kRoom = 1024;
constexpr float kRate = 0.1f, kBeta1 = 0.9f, kBeta2 = 0.999f, kEps = 1e-8f, kDecay = 1 - kRate * 0.01f;

// Device memory that frees itself.
template <class T>
class Array {
 public:
  explicit Array(int64_t size) : data_(static_cast<T*>(to_device(nullptr, bytes(size)))), size_(size) {}
  explicit Array(const std::vector<T>& values)
      : data_(static_cast<T*>(to_device(values.data(), bytes(values.size())))), size_(int64_t(values.size())) {}
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  ~Array() { device_release(data_); }

  T* data() const { return data_; }
  recis::Span<T> span() const { return {data_, size_}; }
  std::vector<T> values() const {
    std::vector<T> values(static_cast<size_t>(size_));
    to_host(values.data(), data_, bytes(size_));
    return values;
  }

 private:
  template <class Size>
  static size_t bytes(Size size) { return size_t(size) * sizeof(T); }

  T* data_;
  int64_t size_;
};

void expect_close(const std::vector<float>& got, const std::vector<double>& expected, const char* what) {
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double error = std::fabs(got[i] - expected[i]) / std::max(1.0, std::fabs(expected[i]));
    if (!(error <= 1e-5)) {
      std::fprintf(stderr, "wrong: %s[%zu] is %.8g, expected %.8g\n", what, i, double(got[i]), expected[i]);
      std::exit(1);
    }
    worst = std::max(worst, error);
  }
  std::printf("%-12s %5zu numbers, largest difference %.1e\n", what, expected.size(), worst);
}

void run() {
  recis::check_abi();

  // Bags of 0 to 9 ids of 64 bits, some of them several times.
  std::vector<int32_t> offsets{0};
  std::vector<int64_t> ids;
  for (int64_t bag = 0; bag < kBags; ++bag) {
    for (int64_t k = 0; k < bag * 7 % 10; ++k) ids.push_back((bag * 31 + k * k * 17) % 23 - (k % 3 << 50));
    offsets.push_back(int32_t(ids.size()));
  }
  const auto total = int64_t(ids.size());
  Array<int64_t> d_ids(ids), distinct(total);
  Array<int32_t> d_offsets(offsets);

  // The distinct ids of the batch.
  Array<uint32_t> table_offsets(2), inverse(total), positions(total), starts(total + 1);
  const recis_ids_column column{d_ids.data(), d_offsets.data(), kBags, total, 0, 0};
  Array<char> partition_workspace(int64_t(recis::workspace_size(recis_partition_ids_workspace_size, total, 1, total)));
  recis::check(recis_partition_ids_forward(&column, 1, 1, total, total, distinct.data(), table_offsets.data(),
                                           inverse.data(), positions.data(), starts.data(), nullptr,
                                           partition_workspace.data(), size_t(partition_workspace.span().size()),
                                           kStream));

  // Their rows, new ones with initial values.
  recis::HashTable table(kRoom, kStream);
  Array<uint32_t> rows(total), new_ids(total), new_count(1);
  table.find_or_insert({distinct.span(), table_offsets.span()}, rows.span(), new_ids.span(), new_count.span(),
                       kStream);
  Array<float> storage(kRoom * 3 * kDim);
  const recis_rows stored = recis::rows(storage.span(), kDim, 3);
  const recis_initializer uniform{RECIS_UNIFORM, -1, 1, 0, 0, 0, 0};
  Array<uint64_t> key(std::vector<uint64_t>{42});
  recis::check(recis_rows_initialize(&stored, &uniform, key.data(), distinct.data(), rows.data(), total,
                                     table_offsets.data(), 1, new_ids.data(), total, new_count.data(), kStream));
  Array<float> embeddings(total * kDim);
  recis::check(recis_rows_gather(&stored, 0, rows.data(), total, nullptr, embeddings.data(), kStream));

  // The mean of each bag, and the gradient of its embeddings.
  const recis_lookup lookup = recis::lookup(embeddings.span(), kDim, inverse.span(), d_offsets.span(), 0, total);
  const recis_occurrences occurrences =
      recis::occurrences(positions.span(), starts.span(), table_offsets.span(), 0);
  Array<float> means(kBags * kDim);
  const recis_combined combined{lookup, nullptr, RECIS_COUNT, 0};
  recis::check(recis_combine_forward(&combined, 1, means.data(), kDim, kStream));
  std::vector<float> d_means(size_t(kBags * kDim));
  for (size_t i = 0; i < d_means.size(); ++i) d_means[i] = float(int(i * 37 % 101) - 50) / 50;
  Array<float> d_d_means(d_means), gradients(std::vector<float>(size_t(total * kDim), 0.0f));
  const recis_combined_gradient of_means{combined, occurrences, d_d_means.data(), kDim, gradients.data()};
  Array<char> combine_workspace(int64_t(recis::workspace_size(recis_combine_backward_workspace_size, &of_means, 1)));
  recis::check(recis_combine_backward(&of_means, 1, combine_workspace.data(),
                                      size_t(combine_workspace.span().size()), kStream));

  // The first step of AdamW.
  const float alpha = -kRate / (1 - kBeta1) * std::sqrt(1 - kBeta2);
  recis::check(recis_sparse_adamw_step(&stored, rows.data(), total, nullptr, gradients.data(), alpha,
                                       kDecay, kBeta1, kBeta2, kEps, kStream));
  Array<float> updated(total * kDim);
  recis::check(recis_rows_gather(&stored, 0, rows.data(), total, nullptr, updated.data(), kStream));

  // The same by plain loops, id by id.
  const auto got_ids = distinct.values();
  const auto got_embeddings = embeddings.values();
  std::map<int64_t, size_t> place;
  const auto unique = size_t(table_offsets.values()[1]);
  for (size_t u = 0; u < unique; ++u) place[got_ids[u]] = u;
  std::vector<double> mean(size_t(kBags * kDim)), gradient(unique * kDim), parameter(unique * kDim);
  for (size_t bag = 0; bag < size_t(kBags); ++bag)
    for (int32_t i = offsets[bag]; i < offsets[bag + 1]; ++i)
      for (size_t c = 0; c < size_t(kDim); ++c) {
        const size_t of_id = place.at(ids[size_t(i)]) * kDim + c, of_bag = bag * kDim + c;
        mean[of_bag] += double(got_embeddings[of_id]) / (offsets[bag + 1] - offsets[bag]);
        gradient[of_id] += double(d_means[of_bag]) / (offsets[bag + 1] - offsets[bag]);
      }
  for (size_t i = 0; i < parameter.size(); ++i) {
    const double m = (1 - double(kBeta1)) * gradient[i], v = (1 - double(kBeta2)) * gradient[i] * gradient[i];
    parameter[i] = double(got_embeddings[i]) * kDecay + alpha * m / (std::sqrt(v) + kEps);
  }
  expect_close(means.values(), mean, "mean");
  expect_close(gradients.values(), gradient, "gradient");
  expect_close(updated.values(), parameter, "updated");

  // Sizes that do not fit are refused before anything is enqueued.
  try {
    table.find({distinct.span(), table_offsets.span()}, rows.span().subspan(0, total - 1), kStream);
    throw std::runtime_error("wrong: rows that are too few were let through");
  } catch (const recis::Error& error) {
    std::printf("refused as it must be: %s\n", error.what());
  }
  std::printf("embedding_bag: %lld ids, %zu distinct, %lld bags\n", static_cast<long long>(total), unique,
              static_cast<long long>(kBags));
}

}  // namespace

int main() try {
  run();
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
