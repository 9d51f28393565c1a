// Sums of gradients over the ids that share an embedding, for features of few ids, in one launch.
//
// Every id of a feature has a thread. That of the first of those that share an embedding finds the others, which
// are side by side in the embedding's run of positions. What they add is then added up by a few lanes, by a warp or by
// the block, as the run is long. The table's other positions are never looked at, however many there are. What is
// added in which order depends on the run alone.
#pragma once

#include "term.cuh"

#include <algorithm>

namespace recis {

// With more ids than this, one that repeats often would keep one block busy for too long: 4096 times the
// same id are eight rounds of loads, each in wait of the last.
constexpr int64_t kFewIds = 1 << 12;

// A block is small, and there are few: they fit beside kernels that leave little room.
constexpr int kFewThreads = 128, kFewIdsOfBlock = 64;

// Runs that a few lanes add up, and that a warp does: so long at most.
constexpr int kFewOfLanes = 8, kFewOfWarp = 128;

// A feature, and where its sums are added.
template <class Source>
struct FewFeature {
  recis_lookup lookup;
  recis_occurrences occurrences;
  Source source;
  float* d_embeddings;
  int shift;  // of the lanes that have a group of columns
};

// Those of a launch: as many as fit, with the rest, the 4 KB that it can hand over.
constexpr int kMostFew = 16;
template <class Source>
struct FewFeatures {
  FewFeature<Source> feature[kMostFew];
};

// What all ids of a feature need to know.
template <class Source>
struct FewIds {
  const FewFeature<Source>& feature;
  const recis_lookup& lookup;
  const recis_occurrences& occurrences;
  int64_t ids;
  uint32_t first_length;  // of the first segment

  __device__ __forceinline__ explicit FewIds(const FewFeature<Source>& f)
      : feature(f), lookup(f.lookup), occurrences(f.occurrences), ids(ids_there(f.lookup)),
        first_length(uint32_t(f.lookup.offsets[1])) {}

  // Which of the feature's ids an entry of the positions is; none of them if it is not within 0..ids.
  __device__ __forceinline__ int64_t id_at(int64_t entry) const {
    return occurrences.positions[entry] - lookup.first_id;
  }

  // The first of a run's positions that is at or above another.
  __device__ __forceinline__ int64_t first_from(IdRun run, int64_t position) const {
    while (run.begin < run.end) {
      const int64_t middle = (run.begin + run.end) / 2;
      if (occurrences.positions[middle] < position) run.begin = middle + 1;
      else run.end = middle;
    }
    return run.begin;
  }
};

// The feature's part of the run that one of its ids is in, if no id of the feature is there before it.
struct Led {
  int64_t place;
  IdRun run;
  __device__ __forceinline__ int64_t length() const { return run.end - run.begin; }
};
template <class Source>
__device__ __forceinline__ Led led_by(const FewIds<Source>& few, int64_t id) {
  const Led none{0, {0, 0}};
  // Within the array if there is no such id: so the load need not wait for the number of ids.
  const int64_t first_id = few.lookup.first_id, last = few.lookup.capacity - 1;
  const int64_t place = few.lookup.inverse[first_id + (id < last ? id : last)];
  const uint32_t* table = few.occurrences.table_offsets + few.occurrences.table;
  if (place < table[0] || place >= table[1]) return none;  // another table's id
  if (id >= few.ids || place >= places_there(few.lookup, few.occurrences)) return none;
  // Positions ascend within the run: those of features before and behind this one are at its ends, if there are any. To
  // look for them is one load behind another.
  IdRun run = run_of(few.occurrences, place, place + 1);
  if (run.begin == run.end) return none;
  const int64_t at_first = few.id_at(run.begin), at_last = few.id_at(run.end - 1);
  if (at_first < 0) run.begin = few.first_from(run, first_id);
  if (run.begin == run.end || few.id_at(run.begin) != id) return none;
  if (at_last >= few.ids) run.end = few.first_from(run, first_id + few.ids);
  return {place, run};
}

// What some entries of a run add, each `step` behind the one before; nothing beyond the end. All loads of a kind are under
// way at once.
template <int count, class Source>
__device__ __forceinline__ void find_terms(const FewIds<Source>& few, int64_t first, int64_t step, int64_t end,
                                           Term (&terms)[count]) {
  const recis_lookup& lookup = few.lookup;
  int64_t id[count], segment[count];
#pragma unroll
  for (int k = 0; k < count; ++k) {
    id[k] = first + k * step < end ? few.id_at(first + k * step) : -1;
    if (id[k] >= few.ids) id[k] = -1;
  }
  // The segment by a guess: as if all were as long as the first, as they are in dense columns. A search is ten loads one
  // after the other.
  bool all_known = true;
#pragma unroll
  for (int k = 0; k < count; ++k) {
    segment[k] = uint32_t(id[k]) / (few.first_length > 0 ? few.first_length : 1);
    const int32_t* offsets = lookup.offsets + segment[k];
    const bool known =
        id[k] < 0 || (segment[k] < lookup.segments && offsets[0] <= id[k] && id[k] < offsets[1]);
    if (!known) segment[k] = -1;
    all_known = all_known && known;
  }
  if (!all_known)
    for (int k = 0; k < count; ++k)
      if (segment[k] < 0) segment[k] = segment_at(lookup, id[k]);
#pragma unroll
  for (int k = 0; k < count; ++k) {
    terms[k] = {kNoSegment, 0};
    if (id[k] < 0) continue;
    const Segment all = segment_of(lookup.offsets, segment[k], lookup.capacity);
    terms[k] = few.feature.source.term(uint32_t(segment[k]), all, id[k]);
  }
}

template <int width, int count, class Source>
__device__ __forceinline__ void add_terms(Floats<width>& sum, const Source& source, const Term (&of)[count],
                                          int64_t column) {
  Floats<width> row[count];
#pragma unroll
  for (int k = 0; k < count; ++k)
    row[k] = of[k].segment != kNoSegment ? source.template load<width>(of[k], column) : Floats<width>{};
#pragma unroll
  for (int k = 0; k < count; ++k)
    if (of[k].segment != kNoSegment) add_scaled(sum, source.factor(of[k]), row[k]);
}

// A whole run, by the lanes that have its columns.
template <int width, class Source>
__device__ __forceinline__ Floats<width> sum_run(const FewIds<Source>& few, IdRun run, int64_t column) {
  constexpr int kAtOnce = 4;
  Floats<width> sum{};
  for (int64_t first = run.begin; first < run.end; first += kAtOnce) {
    Term of[kAtOnce];
    find_terms(few, first, 1, run.end, of);
    add_terms(sum, few.feature.source, of, column);
  }
  return sum;
}

// A warp's share of a run, of 32 positions in every 32 * warps: each lane finds out what some positions add,
// and each group of lanes adds up every `groups`th. The sum is the warp's.
template <int width, class Source>
__device__ __forceinline__ Floats<width> sum_share(const FewIds<Source>& few, IdRun run, int warp, int warps,
                                                   int64_t column) {
  constexpr int kAtOnce = 4;
  const int shift = few.feature.shift, lane = int(threadIdx.x) % 32, groups = 32 >> shift, group = lane >> shift;
  const int64_t step = 32 * warps;
  Floats<width> sum{};
  for (int64_t first = run.begin + 32 * warp; first < run.end; first += kAtOnce * step) {
    Term terms[kAtOnce];
    find_terms(few, first + lane, step, run.end, terms);
#pragma unroll
    for (int t = 0; t < kAtOnce; ++t) {
      const int64_t left = run.end - (first + t * step);
      for (int i = 0; i < 32 && i < left; i += kAtOnce * groups) {
        Term of[kAtOnce];
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k) {
          const int from = i + k * groups + group;  // beyond the warp or below it for all groups alike
          of[k] = {__shfl_sync(~0u, terms[t].segment, from % 32), __shfl_sync(~0u, terms[t].word, from % 32)};
          if (from >= 32 || column >= few.lookup.dim) of[k].segment = kNoSegment;
        }
        add_terms(sum, few.feature.source, of, column);
      }
    }
  }
  add_groups(sum, shift);
  return sum;
}

template <int width, class Source>
__global__ void __launch_bounds__(kFewThreads, 8)
    sum_few_kernel(const FewFeatures<Source> features) {
  wait_for_stream();
  const FewFeature<Source>& feature = features.feature[blockIdx.z];
  const int64_t dim = feature.lookup.dim, first_column = int64_t(blockIdx.y) * width << feature.shift;
  if (first_column >= dim) return;
  constexpr int kWarps = kFewThreads / 32;
  __shared__ Led led[kFewIdsOfBlock];
  __shared__ Floats<width> sums[kWarps][32];
  const int64_t column = first_column + lane_column<width>(feature.shift);
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32, lanes = 1 << feature.shift;
  const FewIds few(feature);
  bool is_long = false;
  if (threadIdx.x < kFewIdsOfBlock) {
    // Neighbours are in different blocks: it is the first ids that most often lead long runs.
    const Led own = led_by(few, int64_t(threadIdx.x) * gridDim.x + blockIdx.x);
    is_long = own.length() > kFewOfLanes;
    led[threadIdx.x] = own;
  }
  const bool some_are_long = __syncthreads_or(is_long);
  const auto embedding_at = [&](int64_t place) { return feature.d_embeddings + place * dim + column; };
  const auto add_to_embedding = [&](int64_t place, Floats<width> sum) {
    if (lane >= lanes || column >= dim) return;
    add(sum, load_floats<width>(embedding_at(place)));
    store_floats(embedding_at(place), sum);
  };
  for (int i = int(threadIdx.x) / lanes; i < kFewIdsOfBlock; i += kFewThreads / lanes) {
    const Led own = led[i];
    if (own.length() <= 0 || own.length() > kFewOfLanes || column >= dim) continue;
    const Floats<width> there = load_floats<width>(embedding_at(own.place));
    Floats<width> sum = sum_run<width>(few, own.run, column);
    add(sum, there);
    store_floats(embedding_at(own.place), sum);
  }
  if (!some_are_long) return;
  // Longer ones have a warp each, by turns.
  int turn = 0;
  for (int i = 0; i < kFewIdsOfBlock; ++i) {
    const Led own = led[i];
    if (own.length() <= kFewOfLanes || own.length() > kFewOfWarp || turn++ % kWarps != warp) continue;
    add_to_embedding(own.place, sum_share<width>(few, own.run, 0, 1, column));
  }
  for (int i = 0; i < kFewIdsOfBlock; ++i) {
    const Led own = led[i];
    if (own.length() <= kFewOfWarp) continue;
    Floats<width> sum = sum_share<width>(few, own.run, warp, kWarps, column);
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp == 0) {
      for (int w = 1; w < kWarps; ++w) add(sum, sums[w][lane]);
      add_to_embedding(own.place, sum);
    }
    __syncthreads();
  }
}

// Whether two features may not be summed in one launch, as both may add to the same embedding.
template <class Source>
bool are_of_one_table(const FewFeature<Source>& one, const FewFeature<Source>& other) {
  return one.d_embeddings == other.d_embeddings &&
         (one.occurrences.table == other.occurrences.table ||
          one.occurrences.table_offsets != other.occurrences.table_offsets);
}

// `wide` as columns_are_wide() of all of them.
template <class Source>
int sum_few(const char* op, FewFeatures<Source>& features, int count, bool wide, recis_stream_t stream) {
  const int width = wide ? 4 : 1;
  int64_t capacity = 0;
  unsigned slices = 1;
  for (FewFeature<Source>* of = features.feature; of != features.feature + count; ++of) {
    of->shift = group_shift(of->lookup.dim, width);
    capacity = std::max(capacity, of->lookup.capacity);
    slices = std::max(slices, slices_of(of->lookup.dim, width, of->shift));
  }
  const dim3 grid(unsigned((capacity + kFewIdsOfBlock - 1) / kFewIdsOfBlock), slices, unsigned(count));
  const auto kernel = wide ? sum_few_kernel<4, Source> : sum_few_kernel<1, Source>;
  return launch(op, kernel, grid, kFewThreads, 0, stream, features);
}

}  // namespace recis
