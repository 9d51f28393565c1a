// What kernels that multiply in halves.cuh's parts have in common.
//
// A block has two groups of four warps that multiply, 64 rows each, and four warps that bring the operands to
// shared memory, by turns, some stages ahead; but see linear_tile_input_share.cuh. Gates say when a stage is filled
// and when it is free again. A group adds a stage's products up by themselves, and then to its sums with the patches'
// scales taken out: the tensor cores do not round sums but cut them, so theirs stay short.
#pragma once

#include "halves.cuh"

namespace recis {

constexpr int kTileRows = 128, kTileColumns = 128;
constexpr int kGroupThreads = 128, kGroups = 2, kProductThreads = (kGroups + 1) * kGroupThreads;
constexpr int kBringers = kGroupThreads / 32;
// A multiprocessor's shared memory, as far as one block can have it.
constexpr size_t kMostShared = 227 << 10;

// Tiles in shared memory, [units][lines]: at() is where a unit of a line is. With room between units, so that
// copies of 16 bytes to neighbouring ones meet different banks:
template <int lines, int units>
struct GatheredTile {
  static constexpr int kAlongLines = 128, kAlongUnits = lines * 16 + 16;
  alignas(128) unsigned char bytes[units * kAlongUnits];
  __device__ __forceinline__ unsigned char* at(int line, int unit) {
    return bytes + unit * kAlongUnits + line * 16;
  }
};
// As a weight's blocks lie in memory: all of a unit's lines together.
template <int lines, int units>
struct UnitTile {
  static constexpr int kAlongLines = 128, kAlongUnits = lines * 16;
  alignas(128) unsigned char bytes[units * kAlongUnits];
  __device__ __forceinline__ unsigned char* at(int line, int unit) {
    return bytes + unit * kAlongUnits + line * 16;
  }
};
// As a gradient's blocks lie in memory: all units of eight lines together.
template <int lines, int units>
struct LineTile8 {
  static constexpr int kAlongLines = units * 128, kAlongUnits = 128;
  alignas(128) unsigned char bytes[lines / 8 * kAlongLines];
  __device__ __forceinline__ unsigned char* at(int line, int unit) {
    return bytes + line / 8 * kAlongLines + unit * kAlongUnits + line % 8 * 16;
  }
};

// A tile as an operand of wgmma, from a line and a k on; `turned` if its lines are the k.
template <class F, bool turned, class Tile>
__device__ __forceinline__ WgmmaOperand operand(Tile& tile, int part, int line, int k) {
  constexpr int kAlong = F::kParts * Tile::kAlongUnits;  // to the next eight numbers of a line
  if constexpr (turned) return wgmma_operand(tile.at(k, line / 8 * F::kParts + part), Tile::kAlongLines, kAlong);
  else return wgmma_operand(tile.at(line, k / 8 * F::kParts + part), kAlong, Tile::kAlongLines);
}

// sums = the products of `row` and on of a with the columns from `column` on of b, `depth` deep. Of two parts, the
// products of the low ones come first, while sums are small; those of two low ones are below what rounding makes of it.
template <class F, bool a_turned, bool b_turned, int depth, int count, class A, class B>
__device__ __forceinline__ void multiply_tiles(float (&sums)[count], A& a, B& b, int row, int column = 0) {
  const auto add = [&](int a_part, int b_part, int k, bool add) {
    wgmma<F::kBfloat, a_turned, b_turned>(sums, operand<F, a_turned>(a, a_part, row, k),
                                          operand<F, b_turned>(b, b_part, column, k), add);
  };
  wgmma_begin();
  if constexpr (F::kParts == 2) {
#pragma unroll
    for (int k = 0; k < depth; k += 16) {
      add(1, 0, k, k > 0);
      add(0, 1, k, true);
    }
  }
#pragma unroll
  for (int k = 0; k < depth; k += 16) add(0, 0, k, F::kParts == 2 || k > 0);
  wgmma_commit();
}

// A ring of stages. With clusters, their blocks go through their stages together.
template <int count, int cluster = 1>
struct Ring {
  Gate filled[count], free[count];
  // One thread calls it; so many arrive to fill a stage, and so many warps of a block use it.
  __device__ __forceinline__ void make(unsigned fillers, unsigned users = kGroups * kGroupThreads / 32) {
    for (int i = 0; i < count; ++i) {
      filled[i].make(fillers);
      free[i].make(cluster * users);
    }
  }
  // By a warp that has used a stage.
  __device__ __forceinline__ void release(int stage) {
    __syncwarp();
    if (const int lane = int(threadIdx.x) % 32; lane < cluster) free[stage].template arrive_at<cluster>(lane);
  }
};

// The stage that an item has in a ring of so many, and its phase.
struct Slot {
  int stage;
  unsigned phase;
  __device__ __forceinline__ Slot(int item, int count) : stage(item % count), phase(item / count & 1) {}
};

// A thread's copies of 16 bytes into stages: a stage hears that it is filled when the next one's copies are
// on their way.
class Copies {
 public:
  // Behind a stage's copies.
  __device__ __forceinline__ void begun(Gate& filled) {
    copy_group();
    if (before_) arrive<1>();
    before_ = &filled;
  }
  // Behind all.
  __device__ __forceinline__ void end() {
    if (before_) arrive<0>();
  }

 private:
  template <int latest>
  __device__ __forceinline__ void arrive() {
    copy_wait_but<latest>();
    wgmma_publish();
    before_->arrive();
  }
  Gate* before_ = nullptr;
};

// Calls bring(what, item) for a bringer's items, each behind look(what, item), which reads what it needs to
// know from memory two items ahead.
template <class Look, class See, class Bring>
__device__ __forceinline__ void bring_by_turns(int first, int end, See look, Bring bring) {
  Look looks[2];
  if (first < end) look(looks[0], first);
  for (int item = first; item < end; item += 2 * kBringers) {
    const int second = item + kBringers, third = second + kBringers;
    if (second < end) look(looks[1], second);
    bring(looks[0], item);
    if (third < end) look(looks[0], third);
    if (second < end) bring(looks[1], second);
  }
}

}  // namespace recis
