// Sums of gradients over the ids that share an embedding, for a feature of any number of ids, in two
// launches.
//
// The positions of a table's ids lie side by side, grouped by id: an id's are a run. They are cut into
// chunks, whatever the runs; a group of lanes adds up a chunk, position by position, and a block adds up
// the chunks of its groups:
//
//   positions   | a a a a | a b c c | c c c c | c c d d |
//   group         0         1         2         3
//
// A run that lies within a chunk (b) is finished there. One that crosses chunks leaves its sum over each,
// and a scan over the block's chunks adds those up, so that all runs that lie within the block are
// finished there (a, c). Of one that crosses blocks each keeps its part: the `tail` of the block where it
// begins, and the `head` of every other. The second kernel adds up a tail and the heads behind it: the
// tail's group of lanes if they are few, its block if they are more. What is added in which order depends
// on the positions alone.
#pragma once

#include "known_offsets.cuh"
#include "term.cuh"

namespace recis {

// A thread looks up so many positions; a chunk is those of the group's lanes, and a block's positions
// begin at a multiple of their number.
constexpr int kThreadPositions = 8;
constexpr int kBlockPositions = kThreads * kThreadPositions;
constexpr int kFewParts = 16;  // heads that a group of lanes adds alone

// Scratch memory: what each block leaves.
struct SumScratch {
  uint32_t* head_places;  // [blocks] whose run came from the block before; RECIS_NO_ROW: none
  uint32_t* tail_places;  // [blocks] whose run begins there and goes on in the next; or RECIS_NO_ROW
  float* heads;           // [blocks, dim] sums of these runs in the block
  float* tails;           // [blocks, dim]
};

inline int64_t blocks_of(int64_t total) { return (total + kBlockPositions - 1) / kBlockPositions; }

inline SumScratch sum_scratch(Workspace& workspace, const recis_lookup& lookup,
                              const recis_occurrences& occurrences) {
  const int64_t blocks = blocks_of(occurrences.total);
  SumScratch scratch;
  scratch.head_places = workspace.take<uint32_t>(blocks);
  scratch.tail_places = workspace.take<uint32_t>(blocks);
  scratch.heads = workspace.take<float>(blocks * lookup.dim);
  scratch.tails = workspace.take<float>(blocks * lookup.dim);
  return scratch;
}

// The positions of the feature's table.
__device__ __forceinline__ IdRun table_run(const recis_occurrences& o) {
  const auto place = [&o](uint32_t place) { return place < o.total ? int64_t(place) : o.total; };
  return run_of(o, place(o.table_offsets[o.table]), place(o.table_offsets[o.table + 1]));
}

// A table's blocks are counted from the one that its positions begin in.
__device__ __forceinline__ int64_t first_block(IdRun table) { return table.begin / kBlockPositions; }

// What a position adds to which embedding.
struct alignas(16) Addend {
  uint32_t place;  // RECIS_NO_ROW: none, the position is another feature's
  Term term;
};

// The place that a feature's id at an entry of `positions` has, and the id's number, or -1.
struct Entry {
  uint32_t place;
  int64_t id;
};
__device__ __forceinline__ Entry entry_at(const recis_lookup& lookup, const recis_occurrences& o, IdRun table,
                                          int64_t ids, int64_t at) {
  const int64_t id = at >= table.begin && at < table.end ? o.positions[at] - lookup.first_id : -1;
  if (id < 0 || id >= ids) return {RECIS_NO_ROW, -1};
  const uint32_t place = lookup.inverse[lookup.first_id + id];
  return {place < places_there(lookup, o) ? place : RECIS_NO_ROW, id};
}

// Finds out what the positions of a warp add, from an entry of `positions` on.
template <class Source>
__device__ __forceinline__ void find_addends(const recis_lookup& lookup, const recis_occurrences& o,
                                             const Source& source, const KnownOffsets& offsets, IdRun table,
                                             int64_t ids, int64_t first, int chunk_shift, Addend* addends) {
  const int lane = int(threadIdx.x) % 32;
  uint32_t place[kThreadPositions], segment[kThreadPositions];
  int64_t id[kThreadPositions];
#pragma unroll
  for (int k = 0; k < kThreadPositions; ++k) {
    const Entry entry = entry_at(lookup, o, table, ids, first + 32 * k + lane);
    place[k] = entry.place;
    id[k] = entry.id;
  }
  offsets.find(id, segment);
  Segment all[kThreadPositions];
#pragma unroll
  for (int k = 0; k < kThreadPositions; ++k)
    all[k] = segment_of(lookup.offsets, segment[k], lookup.capacity);
#pragma unroll
  for (int k = 0; k < kThreadPositions; ++k) {
    const int i = 32 * k + lane;
    // What another feature's position would add as this one's first id is not used.
    const Term term = source.term(segment[k], all[k], id[k] < 0 ? 0 : id[k]);
    addends[i + (i >> chunk_shift)] = {place[k], place[k] != RECIS_NO_ROW ? term : Term{kNoSegment, 0}};
  }
}

// The sums of the first and the last run of a chunk; those between are finished.
template <int width>
struct Chunk {
  uint32_t first, last;      // their places, RECIS_NO_ROW if the chunk adds nothing
  Floats<width> head, tail;  // of a single run only the tail
};

template <int width, class Source>
__device__ __forceinline__ Chunk<width> sum_chunk(const Addend* addends, int count, const Source& source,
                                                  int64_t dim, int64_t column, float* d_embeddings) {
  constexpr int kAtOnce = 8;
  Chunk<width> chunk{RECIS_NO_ROW, RECIS_NO_ROW, {}, {}};
  const bool inside = column < dim;
  for (int i = 0; i < count; i += kAtOnce) {
    Floats<width> row[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const Term term = addends[i + k].term;
      row[k] = inside && term.segment != kNoSegment ? source.template load<width>(term, column)
                                                    : Floats<width>{};
    }
    // By itself: sums of many terms, one after the other, are less exact.
    Floats<width> part{};
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const auto [place, term] = addends[i + k];
      if (place == RECIS_NO_ROW) continue;
      if (place != chunk.last) {
        add(chunk.tail, part);
        if (chunk.last == RECIS_NO_ROW) {
          chunk.first = place;
        } else if (chunk.last == chunk.first) {
          chunk.head = chunk.tail;
        } else if (inside) {
          add_to(d_embeddings + chunk.last * dim + column, chunk.tail);
        }
        chunk.last = place;
        chunk.tail = part = {};
      }
      if (term.segment != kNoSegment) add_scaled(part, source.factor(term), row[k]);
    }
    add(chunk.tail, part);
  }
  return chunk;
}

template <int width>
__device__ __forceinline__ Floats<width> shuffled_up(Floats<width> floats, int distance) {
  for (float& value : floats.value) value = __shfl_up_sync(~0u, value, distance);
  return floats;
}

// What the warps of a block tell each other.
template <int width>
struct Borders {
  uint32_t before, after;  // places of the positions before and behind the block
  uint32_t first[kThreads / 32], last[kThreads / 32];
  Floats<width> tails[kThreads / 32][32];
};

// A chunk's runs in the block.
template <int width>
struct Joined {
  uint32_t place_before;     // of the run that ends where the chunk begins
  Floats<width> sum_before;  // of that run within the block
  Floats<width> sum;         // of the chunk's last run within the block up to the chunk's end
  uint32_t next;             // place of the run that begins where the chunk ends
};

// A scan: first over the chunks of a warp, then over the warps. Runs of one place lie side by side, so a
// chunk whose last run is of the place that another one before it ends with continues that run.
template <int width>
__device__ __forceinline__ Joined<width> join(const Chunk<width>& chunk, int shift, Borders<width>& borders) {
  constexpr int kWarps = kThreads / 32;
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
  const int lanes = 1 << shift, own = lane & (lanes - 1);
  Joined<width> joined;
  Floats<width>& sum = joined.sum;
  sum = chunk.tail;
  for (int distance = lanes; distance < 32; distance *= 2) {
    const uint32_t place = __shfl_up_sync(~0u, chunk.last, distance);
    const Floats<width> more = shuffled_up(sum, distance);
    if (lane >= distance && place == chunk.last) add(sum, more);
  }
  if (lane >= 32 - lanes) borders.tails[warp][own] = sum;
  if (lane == 32 - lanes) borders.last[warp] = chunk.last;
  if (lane == 0) borders.first[warp] = chunk.first;
  __syncthreads();
  uint32_t place = borders.before;
  Floats<width> carried{};
  for (int w = 0; w < warp; ++w) {
    if (borders.last[w] != place) carried = {};
    place = borders.last[w];
    add(carried, borders.tails[w][own]);
  }
  if (chunk.last == place) add(sum, carried);
  joined.place_before = __shfl_up_sync(~0u, chunk.last, lanes);
  joined.sum_before = shuffled_up(sum, lanes);
  joined.next = __shfl_down_sync(~0u, chunk.first, lanes);
  if (lane < lanes) {
    joined.place_before = place;
    joined.sum_before = carried;
  }
  if (lane >= 32 - lanes) joined.next = warp + 1 < kWarps ? borders.first[warp + 1] : borders.after;
  return joined;
}

template <int width, class Source>
__global__ void __launch_bounds__(kThreads, 3)
    sum_blocks_kernel(recis_lookup lookup, recis_occurrences occurrences, Source source, SumScratch scratch,
                      int shift, float* d_embeddings) {
  wait_for_stream();
  __shared__ int32_t known[kKnown];
  // A chunk and one more each, so that groups read from different banks.
  __shared__ Addend addends[kBlockPositions + kThreads];
  __shared__ Borders<width> borders;
  const int64_t dim = lookup.dim, column = lane_column<width>(shift) + (int64_t(blockIdx.y) * width << shift);
  const bool inside = column < dim, leads = column == 0;
  const int64_t block = blockIdx.x;
  KnownOffsets offsets(lookup);
  const IdRun table = table_run(occurrences);
  const int64_t begin = (first_block(table) + block) * kBlockPositions, end = begin + kBlockPositions;
  if (threadIdx.x == 0 && leads) scratch.head_places[block] = scratch.tail_places[block] = RECIS_NO_ROW;
  if (begin >= table.end) return;
  const int64_t ids = ids_there(lookup);
  offsets.store(known);
  __syncthreads();
  if (threadIdx.x == 0) {
    borders.before = entry_at(lookup, occurrences, table, ids, begin - 1).place;
    borders.after = entry_at(lookup, occurrences, table, ids, end).place;
  }
  static_assert(kThreadPositions == 1 << 3);
  const int chunk_shift = shift + 3, group = int(threadIdx.x) >> shift;
  const int first = int(threadIdx.x) / 32 * 32 * kThreadPositions;  // of the warp's positions
  find_addends(lookup, occurrences, source, offsets, table, ids, begin + first, chunk_shift,
               addends + first + (first >> chunk_shift));
  __syncwarp();
  const Addend* own = addends + (group << chunk_shift) + group;
  Chunk<width> chunk = sum_chunk<width>(own, 1 << chunk_shift, source, dim, column, d_embeddings);
  const Joined<width> joined = join(chunk, shift, borders);
  const uint32_t before = borders.before;
  const auto finish = [&](uint32_t place, Floats<width> total) {
    if (place == before) {
      if (inside) store_floats(scratch.heads + block * dim + column, total);
      if (leads) scratch.head_places[block] = place;
    } else if (inside) {
      float* to = d_embeddings + place * dim + column;
      add(total, load_floats<width>(to));
      store_floats(to, total);
    }
  };
  if (chunk.last == RECIS_NO_ROW) return;
  if (chunk.first != chunk.last) {
    if (joined.place_before == chunk.first) add(chunk.head, joined.sum_before);
    finish(chunk.first, chunk.head);
  }
  const bool ends_block = group + 1 == kThreads >> shift;
  if (joined.next != chunk.last || (ends_block && chunk.last == before)) {
    finish(chunk.last, joined.sum);
  } else if (ends_block) {
    if (inside) store_floats(scratch.tails + block * dim + column, joined.sum);
    if (leads) scratch.tail_places[block] = chunk.last;
  }
}

// Adds up the runs that cross blocks: a group of lanes has a block's tail.
template <int width>
__global__ void __launch_bounds__(kThreads)
    sum_parts_kernel(recis_lookup lookup, recis_occurrences occurrences, SumScratch scratch, int64_t blocks,
                     int shift, float* d_embeddings) {
  wait_for_stream();
  __shared__ Floats<width> sums[kThreads];
  __shared__ uint32_t long_runs[kThreads], long_count;
  const int64_t dim = lookup.dim, column = lane_column<width>(shift) + (int64_t(blockIdx.y) * width << shift);
  const int groups = kThreads >> shift, group = int(threadIdx.x) >> shift;
  const bool inside = column < dim;
  const int64_t blocks_before = first_block(table_run(occurrences));
  // The last block that the run of a block's tail may reach.
  const auto last_of = [&](int64_t block) {
    const uint32_t place = block < blocks ? scratch.tail_places[block] : RECIS_NO_ROW;
    if (place == RECIS_NO_ROW) return block;
    const int64_t position = int64_t(occurrences.starts[int64_t(place) + 1]) - 1;
    const int64_t last = position / kBlockPositions - blocks_before;
    return last < block ? block : last < blocks ? last : blocks - 1;
  };
  // A share of the heads that belong to it: every `of`th.
  const auto sum_heads = [&](int64_t block, int64_t last, int share, int of) {
    const uint32_t place = scratch.tail_places[block];
    Floats<width> sum{};
#pragma unroll 4
    for (int64_t i = block + 1 + share; i <= last; i += of)
      if (inside && scratch.head_places[i] == place)
        add(sum, load_floats<width>(scratch.heads + i * dim + column));
    return sum;
  };
  const auto finish = [&](int64_t block, Floats<width> sum) {
    float* to = d_embeddings + scratch.tail_places[block] * dim + column;
    add(sum, load_floats<width>(scratch.tails + block * dim + column));
    add(sum, load_floats<width>(to));
    store_floats(to, sum);
  };
  for (int64_t first = int64_t(blockIdx.x) * groups; first < blocks; first += int64_t(gridDim.x) * groups) {
    if (threadIdx.x == 0) long_count = 0;
    __syncthreads();
    const int64_t block = first + group, last = last_of(block);
    if (last - block > kFewParts) {
      if ((threadIdx.x & ((1u << shift) - 1)) == 0) long_runs[atomicAdd(&long_count, 1u)] = uint32_t(block);
    } else if (last > block && inside) {
      finish(block, sum_heads(block, last, 0, 1));
    }
    __syncthreads();
    // In whichever order they were found: each is summed by itself.
    const uint32_t runs = long_count;
    for (uint32_t run = 0; run < runs; ++run) {
      const int64_t long_run = long_runs[run];
      sums[threadIdx.x] = sum_heads(long_run, last_of(long_run), group, groups);
      for (int half = kThreads / 2; half >= 1 << shift; half /= 2) {
        __syncthreads();
        if (int(threadIdx.x) < half) add(sums[threadIdx.x], sums[threadIdx.x + half]);
      }
      if (group == 0 && inside) finish(long_run, sums[threadIdx.x]);
      __syncthreads();
    }
  }
}

template <class Source>
int sum_many(const char* op, const recis_lookup& lookup, const recis_occurrences& occurrences, Source source,
             bool wide, const SumScratch& scratch, float* d_embeddings, recis_stream_t stream) {
  const int width = wide ? 4 : 1, shift = group_shift(lookup.dim, width);
  const int64_t blocks = blocks_of(occurrences.total);
  const unsigned slices = slices_of(lookup.dim, width, shift);
  if (int status = launch(op, wide ? sum_blocks_kernel<4, Source> : sum_blocks_kernel<1, Source>,
                          dim3(unsigned(blocks), slices), kThreads, 0, stream, lookup, occurrences, source,
                          scratch, shift, d_embeddings))
    return status;
  if (blocks == 1) return RECIS_OK;
  const dim3 by_block(blocks_for(blocks << shift), slices);
  return launch(op, wide ? sum_parts_kernel<4> : sum_parts_kernel<1>, by_block, kThreads, 0, stream, lookup,
                occurrences, scratch, blocks, shift, d_embeddings);
}

}  // namespace recis
