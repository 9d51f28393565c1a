// Sums of gradients over the ids that share an embedding, without atomics and with the same bits every
// time, however unevenly ids repeat.
//
// The positions of a table's ids lie side by side, grouped by id (recis_occurrences): a run of
// positions is an id's. They are cut into chunks of a few positions, whatever the runs; a group of
// lanes adds up a chunk, position by position:
//
//   positions   | a a a a | a b c c | c c c c | c c d d |
//   chunk         0         1         2         3
//
// A run that lies within a chunk (b) is finished there. One that crosses chunks leaves parts: the
// `tail` of the chunk where it begins (a: 0, c: 1), and the `head` of every later one (a: 1, c: 2, 3).
// A second kernel adds the heads of 64 chunks at a time where one run covers them, so that the third,
// which adds up each crossing run's parts, never has many: a chunk's group of lanes if there are few,
// the whole block if there are more. What is added in which order depends on the positions alone.
#pragma once

#include "lookup.cuh"

namespace recis {

constexpr int kBlockChunks = 64;  // chunks whose heads are added beforehand
constexpr int kFewParts = 16;     // heads that a group of lanes adds alone

// What a position adds: columns that a segment's gradient is read from, and a word (such as the factor)
// that the operation puts there.
struct alignas(8) Term {
  uint32_t segment;
  uint32_t word;
};
constexpr uint32_t kNoSegment = 0xffffffff;

// Scratch memory of a sum.
struct SumScratch {
  Term* terms;            // [capacity] what each id of the feature adds
  uint32_t* first_place;  // [chunks] whose run a chunk's first position is in
  float* heads;           // [chunks, dim]
  float* tails;           // [chunks, dim]
  float* blocks;          // [chunks / kBlockChunks, dim] sums of heads
};

// Positions a chunk: few if there are few positions, so that they still occupy the device. The number
// depends on how many there are, not on how many there may be.
constexpr int64_t kManyPositions = 1 << 16;
constexpr int kFewShift = 3, kManyShift = 5;

// The most chunks that up to `total` positions are cut into; at either end one may be incomplete.
inline int64_t most_chunks(int64_t total) {
  const int64_t few = (total < kManyPositions ? total : kManyPositions) >> kFewShift;
  const int64_t many = total >> kManyShift;
  return (few > many ? few : many) + 2;
}

inline SumScratch sum_scratch(Workspace& workspace, const recis_lookup& lookup, const recis_occurrences& occurrences) {
  const int64_t chunks = most_chunks(occurrences.total);
  SumScratch scratch;
  scratch.terms = workspace.take<Term>(lookup.capacity);
  scratch.first_place = workspace.take<uint32_t>(chunks);
  scratch.heads = workspace.take<float>(chunks * lookup.dim);
  scratch.tails = workspace.take<float>(chunks * lookup.dim);
  scratch.blocks = workspace.take<float>(chunks / kBlockChunks * lookup.dim);
  return scratch;
}

// The positions of one table's ids.
struct TablePositions {
  int64_t begin, end;              // in `positions`
  int64_t first_place, end_place;  // of the ids
  int shift;                       // a chunk is 2^shift positions; borders are multiples of it
  int64_t first_chunk, chunks;

  __device__ __forceinline__ int64_t chunk_begin(int64_t chunk) const {
    const int64_t border = (first_chunk + chunk) << shift;
    return border < begin ? begin : border;
  }
  __device__ __forceinline__ int64_t chunk_end(int64_t chunk) const {
    const int64_t border = (first_chunk + chunk + 1) << shift;
    return border < end ? border : end;
  }
};

__device__ __forceinline__ TablePositions table_positions(const recis_occurrences& o) {
  TablePositions t;
  const auto clamp = [&o](uint32_t x, int64_t low) { return x < low ? low : x < o.total ? int64_t(x) : o.total; };
  t.first_place = clamp(o.table_offsets[o.table], 0);
  t.end_place = clamp(o.table_offsets[o.table + 1], t.first_place);
  t.begin = clamp(o.starts[t.first_place], 0);
  t.end = clamp(o.starts[t.end_place], t.begin);
  if (t.end_place == t.first_place) t.end = t.begin;
  t.shift = t.end - t.begin < kManyPositions ? kFewShift : kManyShift;
  t.first_chunk = t.begin >> t.shift;
  t.chunks = t.end > t.begin ? ((t.end - 1) >> t.shift) + 1 - t.first_chunk : 0;
  return t;
}

// Finds out what each id adds, make(segment, id), and whose run each chunk begins in.
template <class Make>
__global__ void __launch_bounds__(kThreads)
    prepare_sum_kernel(recis_lookup lookup, recis_occurrences occurrences, Make make, SumScratch scratch) {
  const int64_t ids = ids_there(lookup);
  for (int64_t first = 4 * grid_thread(); first < ids; first += 4 * grid_threads()) {
    int64_t segment = segment_at(lookup, first);
    for (int64_t id = first; id < first + 4 && id < ids; ++id) {
      if (segment + 1 < lookup.segments && lookup.offsets[segment + 1] <= id) segment = segment_at(lookup, id);
      scratch.terms[id] = make(segment, id);
    }
  }
  const TablePositions table = table_positions(occurrences);
  for (int64_t chunk = grid_thread(); chunk < table.chunks; chunk += grid_threads())
    scratch.first_place[chunk] = uint32_t(table.first_place) +
                                 range_of(occurrences.starts + table.first_place, table.end_place - table.first_place,
                                          uint32_t(table.chunk_begin(chunk)));
}

// Adds up chunks. `source` says where a term's gradient is, and by which factor it counts.
template <int width, class Source>
__global__ void __launch_bounds__(kThreads)
    sum_chunks_kernel(recis_lookup lookup, recis_occurrences occurrences, Source source, SumScratch scratch, int shift,
                      float* d_embeddings) {
  constexpr int kAtOnce = 4;
  const int64_t column = lane_column<width>(shift) + (int64_t(blockIdx.y) * width << shift);
  if (column >= lookup.dim) return;
  const TablePositions table = table_positions(occurrences);
  const int64_t ids = ids_there(lookup);
  for (int64_t chunk = grid_thread() >> shift; chunk < table.chunks; chunk += grid_threads() >> shift) {
    const int64_t begin = table.chunk_begin(chunk), end = table.chunk_end(chunk);
    int64_t place = scratch.first_place[chunk];
    int64_t run_end = occurrences.starts[place + 1];
    bool began_before = occurrences.starts[place] < begin, any = false;
    Floats<width> sum{};
    const auto finish_run = [&] {
      float* to = d_embeddings + place * lookup.dim + column;
      if (began_before) {
        store_floats(scratch.heads + chunk * lookup.dim + column, sum);
      } else if (any && place < lookup.unique) {
        Floats<width> total = load_floats<width>(to);
        add(total, sum);
        store_floats(to, total);
      }
      began_before = any = false;
      sum = {};
    };
    for (int64_t first = begin; first < end; first += kAtOnce) {
      Term term[kAtOnce];
      Floats<width> gradient[kAtOnce];
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        // Positions of other features, which share the table, wrap around to large numbers.
        const uint64_t id =
            first + k < end ? uint64_t(occurrences.positions[first + k]) - uint64_t(lookup.first_id) : ~uint64_t(0);
        term[k] = id < uint64_t(ids) ? scratch.terms[id] : Term{kNoSegment, 0};
      }
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k)
        gradient[k] = term[k].segment != kNoSegment ? load_floats<width>(source.gradient(term[k]) + column)
                                                    : Floats<width>{};
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        if (first + k >= end) break;
        while (first + k >= run_end && place + 1 < table.end_place) {
          finish_run();
          run_end = occurrences.starts[++place + 1];
        }
        if (term[k].segment == kNoSegment) continue;
        add_scaled(sum, source.factor(term[k]), gradient[k]);
        any = true;
      }
    }
    if (run_end > end && !began_before) store_floats(scratch.tails + chunk * lookup.dim + column, sum);
    else finish_run();
  }
}

// Adds the heads of kBlockChunks chunks, a warp's groups of lanes together, where they are all of one run.
template <int width>
__global__ void __launch_bounds__(kThreads)
    sum_heads_kernel(recis_lookup lookup, recis_occurrences occurrences, SumScratch scratch, int shift) {
  const int64_t column = lane_column<width>(shift) + (int64_t(blockIdx.y) * width << shift);
  const TablePositions table = table_positions(occurrences);
  const int groups = 32 >> shift, group = int(threadIdx.x % 32) >> shift;
  for (int64_t block = grid_thread() / 32; block < table.chunks / kBlockChunks; block += grid_threads() / 32) {
    const int64_t chunk = block * kBlockChunks;
    const uint32_t place = scratch.first_place[chunk];
    if (scratch.first_place[chunk + kBlockChunks - 1] != place ||
        occurrences.starts[place] >= table.chunk_begin(chunk))
      continue;
    Floats<width> sum{};
    if (column < lookup.dim) {
#pragma unroll 4
      for (int i = group; i < kBlockChunks; i += groups)
        add(sum, load_floats<width>(scratch.heads + (chunk + i) * lookup.dim + column));
    }
    add_groups(sum, shift);
    if (group == 0 && column < lookup.dim) store_floats(scratch.blocks + block * lookup.dim + column, sum);
  }
}

// The heads of a run that begins in a chunk and goes beyond: those of chunks begin..end, taken one by one
// and, where they fill whole blocks, a block at a time.
struct Heads {
  int64_t begin, end, place;
  int64_t first_block, end_block;

  __device__ __forceinline__ int64_t parts() const {
    return end - begin - (end_block - first_block) * (kBlockChunks - 1);
  }
  __device__ __forceinline__ const float* part(const SumScratch& scratch, int64_t dim, int64_t i) const {
    const int64_t before = first_block * kBlockChunks - begin, blocks = end_block - first_block;
    if (blocks == 0 || i < before) return scratch.heads + (begin + i) * dim;
    if (i < before + blocks) return scratch.blocks + (first_block + i - before) * dim;
    return scratch.heads + (end_block * kBlockChunks + i - before - blocks) * dim;
  }
};

__device__ __forceinline__ Heads heads_of(const recis_occurrences& occurrences, const TablePositions& table,
                                          const SumScratch& scratch, int64_t chunk) {
  Heads heads{0, 0, 0, 0, 0};
  if (chunk + 1 >= table.chunks) return heads;
  heads.place = scratch.first_place[chunk + 1];
  const int64_t start = occurrences.starts[heads.place], run_end = occurrences.starts[heads.place + 1];
  if (start < table.chunk_begin(chunk) || start >= table.chunk_begin(chunk + 1)) return heads;
  const int64_t last_position = (run_end < table.end ? run_end : table.end) - 1;
  const int64_t last = (last_position >> table.shift) - table.first_chunk;
  heads.begin = chunk + 1;
  heads.end = last < heads.begin ? heads.begin : last + 1;
  heads.first_block = (heads.begin + kBlockChunks - 1) / kBlockChunks;
  heads.end_block = heads.end / kBlockChunks;
  if (heads.end_block < heads.first_block) heads.end_block = heads.first_block;
  return heads;
}

// Adds up the runs that cross chunks.
template <int width>
__global__ void __launch_bounds__(kThreads)
    sum_runs_kernel(recis_lookup lookup, recis_occurrences occurrences, SumScratch scratch, int shift,
                    float* d_embeddings) {
  __shared__ Floats<width> sums[kThreads];
  __shared__ uint32_t long_runs[kThreads], long_count;
  const int64_t dim = lookup.dim, column = lane_column<width>(shift) + (int64_t(blockIdx.y) * width << shift);
  const int groups = kThreads >> shift, group = int(threadIdx.x) >> shift;
  const TablePositions table = table_positions(occurrences);
  const auto finish_run = [&](int64_t chunk, int64_t place, Floats<width> sum) {
    float* to = d_embeddings + place * dim + column;
    add(sum, load_floats<width>(scratch.tails + chunk * dim + column));
    add(sum, load_floats<width>(to));
    store_floats(to, sum);
  };
  for (int64_t first = int64_t(blockIdx.x) * groups; first < table.chunks; first += int64_t(gridDim.x) * groups) {
    if (threadIdx.x == 0) long_count = 0;
    __syncthreads();
    const Heads own = heads_of(occurrences, table, scratch, first + group);
    if (own.parts() > kFewParts) {
      if ((threadIdx.x & ((1u << shift) - 1)) == 0) long_runs[atomicAdd(&long_count, 1u)] = uint32_t(first + group);
    } else if (own.parts() > 0 && column < dim && own.place < lookup.unique) {
      Floats<width> sum{};
#pragma unroll 4
      for (int64_t i = 0; i < own.parts(); ++i) add(sum, load_floats<width>(own.part(scratch, dim, i) + column));
      finish_run(first + group, own.place, sum);
    }
    __syncthreads();
    // In whichever order they were found: each is summed by itself.
    const uint32_t runs = long_count;
    for (uint32_t run = 0; run < runs; ++run) {
      const Heads heads = heads_of(occurrences, table, scratch, long_runs[run]);
      Floats<width> sum{};
      if (column < dim) {
#pragma unroll 4
        for (int64_t i = group; i < heads.parts(); i += groups)
          add(sum, load_floats<width>(heads.part(scratch, dim, i) + column));
      }
      sums[threadIdx.x] = sum;
      for (int half = kThreads / 2; half >= 1 << shift; half /= 2) {
        __syncthreads();
        if (int(threadIdx.x) < half) add(sums[threadIdx.x], sums[threadIdx.x + half]);
      }
      if (group == 0 && column < dim && heads.place < lookup.unique)
        finish_run(long_runs[run], heads.place, sums[threadIdx.x]);
      __syncthreads();
    }
  }
}

// Adds the sum of each embedding's gradients to `d_embeddings`. Arguments are checked.
template <class Make, class Source>
int sum_by_id(const char* op, const recis_lookup& lookup, const recis_occurrences& occurrences, Make make,
              Source source, bool wide, const SumScratch& scratch, float* d_embeddings, recis_stream_t stream) {
  const int width = wide ? 4 : 1, shift = group_shift(lookup.dim, width);
  const int64_t chunks = most_chunks(occurrences.total), ids = lookup.capacity / 4;
  const unsigned slices = unsigned((lookup.dim + (int64_t(width) << shift) - 1) / (int64_t(width) << shift));
  const dim3 by_chunk(blocks_for(chunks << shift), slices), by_block(blocks_for(chunks / kBlockChunks * 32), slices);
  if (int status = launch(op, prepare_sum_kernel<Make>, blocks_for(ids > chunks ? ids : chunks), kThreads, 0, stream,
                          lookup, occurrences, make, scratch))
    return status;
  if (int status = launch(op, wide ? sum_chunks_kernel<4, Source> : sum_chunks_kernel<1, Source>, by_chunk, kThreads,
                          0, stream, lookup, occurrences, source, scratch, shift, d_embeddings))
    return status;
  if (chunks > kBlockChunks) {
    if (int status = launch(op, wide ? sum_heads_kernel<4> : sum_heads_kernel<1>, by_block, kThreads, 0, stream,
                            lookup, occurrences, scratch, shift))
      return status;
  }
  return launch(op, wide ? sum_runs_kernel<4> : sum_runs_kernel<1>, by_chunk, kThreads, 0, stream, lookup,
                occurrences, scratch, shift, d_embeddings);
}

}  // namespace recis
