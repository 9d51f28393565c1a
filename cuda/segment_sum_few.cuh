// Sums of gradients over the ids that share an embedding, for a feature of few ids, in one launch.
//
// Every id of the feature has a warp. The first of those that share an embedding finds the others, which
// are side by side in the embedding's run of positions, and adds up what they add; the other ids' warps
// have nothing to do. If there are more than a warp should add up, its block does. The table's other
// positions are never looked at, however many there are. What is added in which order depends on the
// run alone.
#pragma once

#include "term.cuh"

namespace recis {

// With more ids than this, one that repeats often would keep one block busy for too long: 4096 times the
// same id are 16 rounds of loads, each in wait of the last, some 20 us.
constexpr int64_t kFewIds = 1 << 12;

// A block is small: it fits beside those of kernels that leave little room.
constexpr int kFewThreads = 128;

// What all ids of the feature need to know.
struct FewIds {
  recis_lookup lookup;
  recis_occurrences occurrences;
  int64_t ids;
  uint32_t first_length;  // of the first segment

  __device__ __forceinline__ FewIds(const recis_lookup& l, const recis_occurrences& o)
      : lookup(l), occurrences(o), ids(ids_there(l)), first_length(uint32_t(l.offsets[1])) {}

  // Which of the feature's ids an entry of the positions is; none of them if it is not within 0..ids.
  __device__ __forceinline__ int64_t id_at(int64_t entry) const {
    return occurrences.positions[entry] - lookup.first_id;
  }

  // The segment of an id, by a guess: as if all were as long as the first, as they are in dense columns.
  // A search is ten loads one after the other.
  __device__ __forceinline__ int64_t segment(int64_t id) const {
    const int64_t guess = uint32_t(id) / (first_length > 0 ? first_length : 1);
    const int32_t* offsets = lookup.offsets + guess;
    return guess < lookup.segments && offsets[0] <= id && id < offsets[1] ? guess : segment_at(lookup, id);
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
};
__device__ __forceinline__ Led led_by(const FewIds& few, int64_t id) {
  const Led none{0, {0, 0}};
  // Within the array if there is no such id: so the load need not wait for the number of ids.
  const int64_t first_id = few.lookup.first_id, last = few.lookup.capacity - 1;
  const int64_t place = few.lookup.inverse[first_id + (id < last ? id : last)];
  const uint32_t* table = few.occurrences.table_offsets + few.occurrences.table;
  if (place < table[0] || place >= table[1]) return none;  // another table's id
  if (id >= few.ids || place >= places_there(few.lookup, few.occurrences)) return none;
  // Positions ascend within the run: those of features before and behind this one are at its ends.
  IdRun run = run_of(few.occurrences, place, place + 1);
  run.begin = few.first_from(run, first_id);
  if (run.begin == run.end || few.id_at(run.begin) != id) return none;
  run.end = few.first_from(run, first_id + few.ids);
  return {place, run};
}

// A warp's share of a run, of 32 positions in every 32 * warps: each lane finds out what one position adds,
// and each group of lanes adds up every `groups`th. The sum is the group's.
template <int width, class Source>
__device__ __forceinline__ Floats<width> sum_share(const FewIds& few, const Source& source, IdRun run,
                                                   int warp, int warps, int shift, int64_t column) {
  constexpr int kAtOnce = 4;
  const int lane = int(threadIdx.x) % 32, groups = 32 >> shift, group = lane >> shift;
  Floats<width> sum{};
  for (int64_t first = run.begin + 32 * warp; first < run.end; first += 32 * warps) {
    const int count = run.end - first < 32 ? int(run.end - first) : 32;
    const int64_t id = lane < count ? few.id_at(first + lane) : -1;
    Term term{kNoSegment, 0};
    if (id >= 0 && id < few.ids) {
      const int64_t segment = few.segment(id);
      const Segment all = segment_of(few.lookup.offsets, segment, few.lookup.capacity);
      term = source.term(uint32_t(segment), all, id);
    }
    for (int i = 0; i < count; i += kAtOnce * groups) {
      Term of[kAtOnce];
      Floats<width> row[kAtOnce];
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        const int from = i + k * groups + group;  // beyond the warp or below it for all groups alike
        of[k] = {__shfl_sync(~0u, term.segment, from % 32), __shfl_sync(~0u, term.word, from % 32)};
        if (from >= 32 || column >= few.lookup.dim) of[k].segment = kNoSegment;
      }
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k)
        row[k] = of[k].segment != kNoSegment ? source.template load<width>(of[k], column) : Floats<width>{};
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k)
        if (of[k].segment != kNoSegment) add_scaled(sum, source.factor(of[k]), row[k]);
    }
  }
  return sum;
}

template <int width, class Source>
__global__ void __launch_bounds__(kFewThreads, 8)
    sum_few_kernel(recis_lookup lookup, recis_occurrences occurrences, Source source, int shift,
                   float* d_embeddings) {
  wait_for_stream();
  constexpr int kWarps = kFewThreads / 32;
  __shared__ Led long_runs[kWarps];
  __shared__ Floats<width> sums[kWarps][32];
  const int64_t column = lane_column<width>(shift) + (int64_t(blockIdx.y) * width << shift);
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32, groups = 32 >> shift;
  const bool writes = lane < 1 << shift && column < lookup.dim;
  const FewIds few(lookup, occurrences);
  // Neighbours are in different blocks: it is the first ids that most often lead long runs.
  const Led own = led_by(few, int64_t(warp) * gridDim.x + blockIdx.x);
  const bool is_long = own.run.end - own.run.begin > 8 * (groups < 8 ? groups : 8);
  if (lane == 0) long_runs[warp] = is_long ? own : Led{0, {0, 0}};
  if (own.run.begin < own.run.end && !is_long) {
    float* to = d_embeddings + own.place * lookup.dim + column;
    const Floats<width> there = writes ? load_floats<width>(to) : Floats<width>{};
    Floats<width> sum = sum_share<width>(few, source, own.run, 0, 1, shift, column);
    add_groups(sum, shift);
    add(sum, there);
    if (writes) store_floats(to, sum);
  }
  if (!__syncthreads_or(is_long)) return;
  for (int other = 0; other < kWarps; ++other) {
    const auto [place, run] = long_runs[other];
    if (run.begin == run.end) continue;
    Floats<width> sum = sum_share<width>(few, source, run, warp, kWarps, shift, column);
    add_groups(sum, shift);
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && writes) {
      float* to = d_embeddings + place * lookup.dim + column;
      for (int w = 1; w < kWarps; ++w) add(sum, sums[w][lane]);
      add(sum, load_floats<width>(to));
      store_floats(to, sum);
    }
    __syncthreads();
  }
}

template <class Source>
int sum_few(const char* op, const recis_lookup& lookup, const recis_occurrences& occurrences, Source source,
            bool wide, float* d_embeddings, recis_stream_t stream) {
  const int width = wide ? 4 : 1, shift = group_shift(lookup.dim, width);
  constexpr int64_t kWarps = kFewThreads / 32;
  const dim3 grid(unsigned((lookup.capacity + kWarps - 1) / kWarps), slices_of(lookup.dim, width, shift));
  return launch(op, wide ? sum_few_kernel<4, Source> : sum_few_kernel<1, Source>, grid, kFewThreads, 0, stream,
                lookup, occurrences, source, shift, d_embeddings);
}

}  // namespace recis
