// The products of linear_tile in halves.cuh's parts: a layer's factors as they are prepared, and what
// linear_tile.cu calls.
#pragma once

#include "half_product.cuh"
#include "linear_tile.cuh"

namespace recis {

// The embeddings of a tile that are there, as rows of units. Small tables are kept several times, for blocks to
// choose from: if all read the same few lines, these become the limit.
struct HalfTable {
  float unscale;
  int copies;
  int copy_units;  // from one to the next
  int first_unit;  // if there is but one
};

// Columns of one input. Dense columns count as a tile of one position, each row at its own place.
struct HalfRun {
  // As they were given:
  const float* x;         // [unique, dim]
  const uint32_t* range;  // the places that are the tile's; null: all
  const uint32_t* inverse;
  const int32_t* offsets;
  int64_t capacity;
  uint32_t unique;
  bool tile;  // or dense
  bool own;   // its table, or an earlier run's
  int dim, positions, first_column, columns;
  int room;               // columns up to the next run, or whole steps
  int first_chunk;        // steps that runs before have
  // As they are prepared:
  Unit* units;            // [unique, dim / 8, parts], common to runs of the same embeddings
  Unit* copies;           // of a small table [copies, rows, dim / 8, parts]
  HalfTable* table;
  float* largest;         // [kLargestBlocks]
  uint32_t* places;       // [positions, padded rows], from the range's first on
  uint32_t* repeats;      // [places_blocks()] how often an embedding is among a block's places, at most
};

struct HalfRuns {
  HalfRun run[kMaxDense + kMaxTiles];
  int count, chunks;
};

// A matrix as blocks of eight lines by a unit, with the inverse of each patch's scale.
struct HalfBlocks {
  Unit* units;
  float* unscale;
  float* norm;  // as vectors of all outputs: of d_y each row, [output tiles, padded rows]; of the weight, as `unscale`,
                // the largest of a patch's columns
};

// Where the places of each run are, for who knows of a run only where its columns begin; in memory.
struct HalfDirectory {
  struct Run {
    int first_column, columns, dim, blocks;
    const uint32_t *places, *repeats;
  };
  Run run[kMaxDense + kMaxTiles];
  int count;

  __device__ const Run* find(int first_column) const {
    for (int i = 0; i < count; ++i)
      if (run[i].first_column == first_column) return run + i;
    return nullptr;
  }
};

// A layer's factors.
struct HalfLayer {
  HalfRuns runs;
  HalfDirectory* directory;
  HalfBlocks weight;  // [output tiles, units, 128 lines]; a patch is 128 lines by a step of columns, and
                      // `unscale` has its number for each of its columns' units: [output tiles, inputs / 8]
  HalfBlocks d_y;     // [output tiles, padded rows / 8, 128 columns' units, 8 lines]; a patch is a step of
                      // rows by 128 columns, `unscale` [steps, output tiles]
  int rows, padded_rows, inputs, outputs;

  __host__ __device__ int output_tiles() const { return (outputs + kTileColumns - 1) / kTileColumns; }
  __host__ __device__ int row_tiles() const { return padded_rows / kTileRows; }
  __host__ __device__ int groups() const { return inputs / kUnit; }
  // Units of a line of the weight; a tile of columns may go beyond the last one.
  template <class F>
  __host__ __device__ int64_t weight_units() const {
    return int64_t(groups() + kTileColumns / kUnit) * F::kParts;
  }
};

// Places are turned in blocks of 128 positions of 32 rows, those of the same positions one behind the other.
constexpr int kTurnRows = 32, kTurnPositions = 128;
__host__ __device__ inline int places_blocks(const HalfLayer& layer, const HalfRun& run) {
  return layer.padded_rows / kTurnRows * ((run.positions + kTurnPositions - 1) / kTurnPositions);
}

// Where a block finds a run's rows.
__device__ __forceinline__ const Unit* rows_of(const HalfRun& run, const HalfTable& table) {
  return table.copies > 1 ? run.copies + int(blockIdx.x) % table.copies * table.copy_units
                          : run.units + table.first_unit;
}

// The run that a chunk is of, going on from one at or before it.
__device__ __forceinline__ int run_of_chunk(const HalfRuns& runs, int chunk, int run = 0) {
  while (run + 1 < runs.count && runs.run[run + 1].first_chunk <= chunk) ++run;
  return run;
}

// Whether the device multiplies such a layer so, and what its size alone says of that.
bool halves_fit(const Runs& runs, const recis_linear_size& size);
bool halves_fit_size(const recis_linear_size& size);
// The memory of a layer's factors, of the weight and the gradient among them, and of forward's scratch.
size_t half_layer_bytes(const Runs& runs, const recis_linear_size& size);
size_t half_blocks_bytes(const recis_linear_size& size);
size_t half_forward_bytes(const Runs& runs, const recis_linear_size& size);

// Each enqueues its part. `memory` is what prepare_halves() has filled, of half_layer_bytes(); it reads no embeddings and
// no dense columns.
int prepare_halves(const char* op, const Runs& runs, const float* weight, const recis_linear_size& size,
                   void* memory, recis_stream_t stream);
int prepare_half_inputs(const char* op, const Runs& runs, const recis_linear_size& size, void* memory,
                        recis_stream_t stream);
int prepare_half_gradient(const char* op, const float* d_y, const recis_linear_size& size, void* memory,
                          recis_stream_t stream);
int half_forward(const char* op, const Runs& runs, const float* bias, float* y, const recis_linear_size& size,
                 void* memory, void* workspace, recis_stream_t stream);
int half_weight_gradient(const char* op, const Runs& runs, float* d_weight, const recis_linear_size& size,
                         bool accumulate, void* memory, recis_stream_t stream);
// To the gradients of the tiles' embeddings.
int half_input_gradient(const char* op, const Runs& tiles, const OrderFreeTiles& sums, const recis_linear_size& size,
                        void* memory, recis_stream_t stream);

}  // namespace recis
