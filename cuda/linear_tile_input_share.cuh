// What a block of half_input_kernel has: its shared memory, and its share of the tiles' columns.
#pragma once

#include "block_sums.cuh"
#include "linear_tile_halves.cuh"

namespace recis {

// Four groups multiply, each 64 rows by 64 columns of a stage, as what they do with the products takes longest; one
// warp brings.
constexpr int kInputGroups = 4, kInputUsers = kInputGroups * kGroupThreads, kInputThreads = kInputUsers + 32;
constexpr int kGroupColumns = 64;

template <class F>
struct InputShared {
  static constexpr int kStages = F::kParts == 1 ? 4 : 2;
  static constexpr int kFewStages = kStages - 1;  // beside sums of the block's own
  static constexpr int kUnits = kTileColumns / kUnit, kPatches = kTileColumns / F::kStep;  // of a stage
  LineTile8<kTileRows, kTileColumns / kUnit * F::kParts> d_y;
  struct Stage {
    UnitTile<kTileColumns, kUnits * F::kParts> weight;
    uint32_t places[kUnits][kTileRows];  // of the positions that have some of the columns
    float unscale[kPatches], norm[kPatches];
  } stage[kStages];
  uint32_t more[F::kParts == 1 ? 24 << 8 : 1];  // for the sums, behind the stages that they take
  Ring<kStages> ring;
  Gate d_y_filled;
  Gate summed;                     // the block's own sums
  uint32_t most_row, most_column;  // bits of the largest norms
  uint32_t terms, own_terms;       // of a sum, at most: of all blocks, and of this one

  static constexpr int64_t kSumWords = (kStages - kFewStages) * int64_t(sizeof(Stage)) / 4 + int64_t(sizeof more) / 4;
  __device__ __forceinline__ BlockSums block_sums() { return BlockSums(stage + kFewStages); }
};

// Sums of up to 2^kMostLogTerms terms of factors in one part are in pairs. A typical term has 3.5 bits less than the
// norms of its row and column allow: the smallest of a class keep so many bits below the latter that to round them
// does about as much to a term as rounding the factors has done. Classes reach down so many powers of two, at least.
template <class F>
struct Pairs {
  static constexpr int kMostLogTerms = F::kParts == 1 ? 12 : -1;
  static constexpr int kKept = F::kBfloat ? 11 : 14, kReach = 16;

  // Of how many powers of two a class is.
  __device__ __forceinline__ static int class_log(int log_terms) { return kPairBits - log_terms - kKept; }
};

struct HalfInputs {
  HalfBlocks d_y, weight;  // of a layer of one output tile
  const HalfDirectory* directory;
  int padded_rows, groups;
  OrderFreeTiles sums;
  struct Columns {
    int first, count;
  } columns[kMaxTiles];  // of each tile

  __host__ __device__ int row_tiles() const { return padded_rows / kTileRows; }
};
// One of them.
struct HalfInput {
  HalfBlocks d_y, weight;
  int padded_rows, groups, first_column, columns;
  const OrderFree& sums;

  __device__ __forceinline__ HalfInput(const HalfInputs& all, int tile)
      : d_y(all.d_y),
        weight(all.weight),
        padded_rows(all.padded_rows),
        groups(all.groups),
        first_column(all.columns[tile].first),
        columns(all.columns[tile].count),
        sums(all.sums.of[tile]) {}
};

// Whether blocks keep a tile's sums to themselves, if they are in pairs: they fit, and what a block hands on is less
// than it has added.
template <class F, bool unordered>
__device__ __forceinline__ bool keeps_sums(const HalfInputs& tiles, int tile, int ranges) {
  if (F::kParts != 1 || unordered) return false;
  const OrderFree& sums = tiles.sums.of[tile];
  const int64_t count = order_free_rows(sums).count, positions = tiles.columns[tile].count / sums.dim;
  return BlockSums::words(count, sums.dim) <= InputShared<F>::kSumWords &&
         2 * count * ranges <= int64_t(kTileRows) * positions;
}

// A block's tile, and its share of the tile's steps along the columns.
struct InputShare {
  int tile, begin, end;
  bool is_first;  // of the tile's
};
// Ranges are dealt to tiles by how long their columns take, each has one at least.
template <class F, bool unordered>
__device__ __forceinline__ InputShare input_share(const HalfInputs& tiles, int range, int ranges) {
  constexpr int kKept = 2, kOthers = 3;  // how long columns take: memory adds slowly
  const auto work = [&](int tile) {
    return int64_t(tiles.columns[tile].count) * (keeps_sums<F, unordered>(tiles, tile, ranges) ? kKept : kOthers);
  };
  const int count = tiles.sums.count;
  int64_t all = 0, before = 0;
  for (int tile = 0; tile < count; ++tile) all += work(tile);
  int tile = 0, first = 0, next;
  for (;; ++tile, first = next) {
    before += work(tile);
    next = tile + 1 + int((ranges - count) * before / all);
    if (range < next) break;
  }
  const int64_t steps = (tiles.columns[tile].count + kTileColumns - 1) / kTileColumns, own = range - first;
  return {tile, int(steps * own / (next - first)), int(steps * (own + 1) / (next - first)), own == 0};
}

}  // namespace recis
