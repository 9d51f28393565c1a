// Sums of gradients over the ids that share an embedding, with the same bits every time, however unevenly ids
// repeat: nothing is added to by two at once. A feature of few ids is summed id by id, any other by the positions
// of its table.
#pragma once

#include "segment_sum_few.cuh"
#include "segment_sum_many.cuh"

#include <utility>

namespace recis {

// Adds the sum of each embedding's gradients to its feature's `d_embeddings`, feature by feature: those of few ids by as
// many as a launch takes. Arguments are checked.
template <class Source>
class SumsById {
 public:
  SumsById(const char* op, recis_stream_t stream) : op_(op), stream_(stream) {}

  // `wide` as columns_are_wide().
  int add(const recis_lookup& lookup, const recis_occurrences& occurrences, const Source& source, bool wide,
          const SumScratch& scratch, float* d_embeddings) {
    const FewFeature<Source> next{lookup, occurrences, source, d_embeddings, 0};
    const bool is_few = lookup.capacity <= kFewIds;
    const bool has_table = std::any_of(few_.feature, few_.feature + count_,
                                       [&](const auto& other) { return are_of_one_table(next, other); });
    if (!is_few || count_ == kMostFew || wide != wide_ || has_table)
      if (int status = finish()) return status;
    if (!is_few) return sum_many(op_, lookup, occurrences, source, wide, scratch, d_embeddings, stream_);
    wide_ = wide;
    few_.feature[count_++] = next;
    return RECIS_OK;
  }

  // Launches what is left.
  int finish() {
    const int count = std::exchange(count_, 0);
    return count == 0 ? RECIS_OK : sum_few(op_, few_, count, wide_, stream_);
  }

 private:
  const char* op_;
  recis_stream_t stream_;
  FewFeatures<Source> few_{};
  int count_ = 0;
  bool wide_ = false;
};

}  // namespace recis
