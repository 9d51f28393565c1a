// What an id adds to the gradient of its embedding: a row of floats times a factor.
//
// An operation says what by a Source:
//
//   Term term(uint32_t segment, Segment ids, int64_t id)   of an id in a segment, which has these ids
//   Floats<width> load<width>(Term term, int64_t column)   columns of its row
//   float factor(Term term)
#pragma once

#include "lookup.cuh"

namespace recis {

struct alignas(8) Term {
  uint32_t segment;  // whose gradient the row is from; kNoSegment: nothing is added
  uint32_t word;     // the operation's own, such as the factor
};
constexpr uint32_t kNoSegment = 0xffffffff;

// The places that an id may have: their embeddings and their runs of positions are within the arrays.
__device__ __forceinline__ int64_t places_there(const recis_lookup& lookup, const recis_occurrences& o) {
  return lookup.unique < o.total ? lookup.unique : o.total;
}

// Where the positions of some ids that lie side by side are in `positions`.
struct IdRun {
  int64_t begin, end;
};

// Those of places first_place..end_place, kept within the array whatever `starts` hold.
__device__ __forceinline__ IdRun run_of(const recis_occurrences& o, int64_t first_place, int64_t end_place) {
  const int64_t first = o.starts[first_place], last = o.starts[end_place];
  const int64_t begin = first < o.total ? first : o.total;
  return {begin, last < begin ? begin : last < o.total ? last : o.total};
}

}  // namespace recis
