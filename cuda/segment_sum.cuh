// Sums of gradients over the ids that share an embedding, with the same bits every time, however unevenly ids
// repeat: nothing is added to by two at once. A feature of few ids is summed id by id, any other by the positions
// of its table.
#pragma once

#include "segment_sum_few.cuh"
#include "segment_sum_many.cuh"

namespace recis {

// Adds the sum of each embedding's gradients to `d_embeddings`. Arguments are checked, and there are ids.
template <class Source>
int sum_by_id(const char* op, const recis_lookup& lookup, const recis_occurrences& occurrences, Source source,
              bool wide, const SumScratch& scratch, float* d_embeddings, recis_stream_t stream) {
  if (lookup.capacity <= kFewIds) return sum_few(op, lookup, occurrences, source, wide, d_embeddings, stream);
  return sum_many(op, lookup, occurrences, source, wide, scratch, d_embeddings, stream);
}

}  // namespace recis
