// A fully connected layer whose input is a concatenation of dense columns and tiled embeddings.
#include "linear.cuh"
#include "linear_tile.cuh"
#include "linear_tile_halves.cuh"

namespace recis {
namespace {

// The inputs of a layer, as they were given.
struct Inputs {
  const recis_dense_columns* dense;
  int64_t dense_count;
  const recis_tile* tiles;
  int64_t tile_count;
};

int require_range(int64_t first_column, int64_t columns, const recis_linear_size& size, const char* op,
                  const char* first_name, const char* columns_name) {
  return first_of(require(columns >= 0, op, columns_name, "is negative"),
                  require(first_column >= 0, op, first_name, "is negative"),
                  require(first_column <= size.inputs && columns <= size.inputs - first_column, op, columns_name,
                          "is beyond the layer's inputs"));
}

int require_tile_sizes(const recis_tile& tile, const recis_linear_size& size, const char* op) {
  const int64_t dim = tile.lookup.dim;
  if (int status = first_of(require(dim > 0, op, "dim", "is below 1"),
                            require(tile.tile_len >= 0, op, "tile_len", "is negative"),
                            require(tile.lookup.segments == size.rows, op, "segments", "differs from the rows")))
    return status;
  // The division avoids a product that wraps around.
  const bool fits = tile.tile_len <= size.inputs / dim;
  return require_range(tile.first_column, fits ? tile.tile_len * dim : size.inputs + 1, size, op, "first_column",
                       "tile_len");
}

// The sizes of all inputs, and of the layer.
int require_sizes(const Inputs& inputs, const recis_linear_size* size, const char* op) {
  if (int status = require_layer(size, op)) return status;
  const auto [dense, dense_count, tiles, tile_count] = inputs;
  if (int status = first_of(
          require(dense_count >= 0 && dense_count <= kMaxDense, op, "dense_count", "is negative or above 16"),
          require(tile_count >= 0 && tile_count <= kMaxTiles, op, "tile_count", "is negative or above 16"),
          require(dense || dense_count == 0, op, "dense", "is null"),
          require(tiles || tile_count == 0, op, "tiles", "is null")))
    return status;
  int status = RECIS_OK;
  for (int64_t i = 0; i < dense_count; ++i)
    status = first_of(status, require_range(dense[i].first_column, dense[i].width, *size, op, "first_column",
                                            "width"));
  for (int64_t i = 0; i < tile_count; ++i) status = first_of(status, require_tile_sizes(tiles[i], *size, op));
  return status;
}

// The inputs that have columns, as runs.
Runs make_runs(const Inputs& inputs, const recis_linear_size& size) {
  Runs runs{};
  auto add = [&](Run run) {
    run.wide_weight = size.inputs % 4 == 0 && run.first_column % 4 == 0 && run.columns % 4 == 0;
    if (run.columns > 0) runs.run[runs.count++] = run;
  };
  for (int64_t i = 0; i < inputs.dense_count; ++i) {
    const recis_dense_columns& dense = inputs.dense[i];
    Run run{};
    run.x = dense.x;
    run.first_column = int(dense.first_column);
    run.columns = int(dense.width);
    run.wide = dense.width % 4 == 0;
    add(run);
  }
  for (int64_t i = 0; i < inputs.tile_count; ++i) {
    const auto& [lookup, tile_len, first_column, range] = inputs.tiles[i];
    Run run{};
    run.tile = true;
    run.x = lookup.embeddings;
    run.inverse = lookup.inverse + lookup.first_id;
    run.offsets = lookup.offsets;
    run.range = range;
    run.capacity = lookup.capacity;
    run.unique = uint32_t(std::min<int64_t>(lookup.unique, kNowhere));
    run.dim = int(lookup.dim);
    run.tile_len = int(tile_len);
    run.first_column = int(first_column);
    run.columns = int(tile_len * lookup.dim);
    run.wide = lookup.dim % 4 == 0;
    add(run);
  }
  return runs;
}

// The arrays of all inputs, whose sizes are checked, and that no two have a column in common.
int require_arrays(const Inputs& inputs, const recis_linear_size& size, const char* op) {
  int status = RECIS_OK;
  for (int64_t i = 0; i < inputs.dense_count; ++i) {
    const recis_dense_columns& dense = inputs.dense[i];
    status = first_of(status, require_array(dense.x, size.rows * dense.width, op, "x"));
  }
  for (int64_t i = 0; i < inputs.tile_count; ++i)
    status = first_of(status, require_lookup(&inputs.tiles[i].lookup, op));
  if (status != RECIS_OK) return status;
  const Runs runs = make_runs(inputs, size);
  bool apart = true;
  for (int i = 0; i < runs.count; ++i)
    for (int j = 0; j < i; ++j)
      apart = apart && (runs.run[i].first_column >= runs.run[j].first_column + runs.run[j].columns ||
                        runs.run[j].first_column >= runs.run[i].first_column + runs.run[i].columns);
  return require(apart, op, "the inputs", "overlap");
}

TileForward forward_problem(const Inputs& inputs, const float* weight, const float* bias, float* y,
                            const recis_linear_size& size) {
  return {make_runs(inputs, size), weight, size.inputs, int(size.rows), int(size.outputs),
          output(y, size.outputs, size.outputs, bias, false)};
}

TileWeight weight_problem(const Inputs& inputs, const float* d_y, float* d_weight, const recis_linear_size& size,
                          bool accumulate) {
  const Matrix gradient = matrix(d_y, size.outputs, size.outputs, size.outputs);
  return {make_runs(inputs, size), gradient, int(size.rows), d_weight, size.inputs, accumulate};
}

// The workspace of backward_tiles: the sums, and if nothing is prepared the gradient of a tile's columns, of one tile
// after the other, and what it is made with.
struct TileGradients {
  OrderFreeTiles sums;
  float* d_x;
  void* rest;
  size_t rest_bytes;
};
TileGradients tile_gradients(Workspace& workspace, const Inputs& inputs, float* d_embeddings,
                             const recis_linear_size& size, bool unordered, bool prepared) {
  TileGradients gradients{};
  int64_t most = 0;
  for (int64_t i = 0; i < inputs.tile_count; ++i) {
    const recis_tile& tile = inputs.tiles[i];
    const int64_t columns = tile.tile_len * tile.lookup.dim;
    if (columns == 0) continue;
    OrderFreeTiles& sums = gradients.sums;
    sums.of[sums.count++] = order_free(workspace, tile, unordered, d_embeddings);
    most = std::max(most, columns);
    gradients.rest_bytes = std::max(gradients.rest_bytes, input_gradient_bytes(size, columns));
  }
  if (prepared) return gradients;
  gradients.d_x = workspace.take<float>(size.rows * most);
  gradients.rest = workspace.take<char>(int64_t(gradients.rest_bytes));
  return gradients;
}

// The tiles of backward_tiles, whose sizes are checked.
int require_tiles(const Inputs& inputs, const char* op) {
  int status = RECIS_OK;
  for (int64_t i = 0; i < inputs.tile_count; ++i) {
    const recis_lookup &lookup = inputs.tiles[i].lookup, &first = inputs.tiles[0].lookup;
    status = first_of(status, require(lookup.unique >= 0, op, "unique", "is negative"),
                      require(lookup.dim <= 1 << 20, op, "dim", "is above 2^20"),
                      require(lookup.capacity <= INT32_MAX, op, "capacity", "is too large"),
                      require(lookup.dim == first.dim && lookup.unique == first.unique, op, "the tiles",
                              "are of different embeddings"));
  }
  return status;
}

// What backward_tiles() sums in its workspace, unless it is unordered; none if there is nothing to sum.
int find_sums(const Inputs& inputs, const recis_linear_size* size, size_t prepared_bytes, void* workspace,
              size_t workspace_bytes, const char* op, OrderFreeTiles* sums) {
  if (int status = require_sizes(inputs, size, op)) return status;
  if (int status = first_of(require_arrays(inputs, *size, op), require_tiles(inputs, op))) return status;
  Workspace cut(workspace);
  *sums = tile_gradients(cut, inputs, nullptr, *size, false, prepared_bytes > 0).sums;
  if (size->rows == 0 || inputs.tile_count == 0 || inputs.tiles[0].lookup.unique == 0) sums->count = 0;
  return require_workspace(workspace, workspace_bytes, cut.bytes(), op);
}

// The memory of a layer's prepared factors, if there are any: all of it, or as far as the size alone says.
int require_prepared(const Runs& runs, const recis_linear_size& size, const void* prepared, size_t bytes,
                     const char* op) {
  if (!prepared) return RECIS_OK;
  if (int status = require(halves_fit(runs, size), op, "prepared", "is for another layer, of no size")) return status;
  return first_of(require(bytes >= half_layer_bytes(runs, size), op, "prepared", "is too small"),
                  require_array(prepared, 1, op, "prepared"));
}
int require_prepared_blocks(const recis_linear_size& size, const void* prepared, size_t bytes, const char* op) {
  if (!prepared) return RECIS_OK;
  if (int status = require(halves_fit_size(size), op, "prepared", "is for another layer, of no size")) return status;
  return first_of(require(bytes >= half_blocks_bytes(size), op, "prepared", "is too small"),
                  require_array(prepared, 1, op, "prepared"));
}

}  // namespace
}  // namespace recis

extern "C" int recis_linear_tile_workspace_size(const recis_dense_columns* dense, int64_t dense_count,
                                                const recis_tile* tiles, int64_t tile_count,
                                                const recis_linear_size* size, size_t* bytes) {
  using namespace recis;
  const char* op = "linear_tile.workspace_size";
  const Inputs inputs{dense, dense_count, tiles, tile_count};
  if (int status = first_of(require_sizes(inputs, size, op), require(bytes != nullptr, op, "bytes", "is null")))
    return status;
  size_t most = std::max(plan(forward_problem(inputs, nullptr, nullptr, nullptr, *size), size->precision).bytes,
                         plan(weight_problem(inputs, nullptr, nullptr, *size, false), size->precision).bytes);
  if (const Runs runs = make_runs(inputs, *size); halves_fit(runs, *size))
    most = std::max(most, half_forward_bytes(runs, *size));
  for (int64_t i = 0; i < dense_count; ++i)
    most = std::max(most, input_gradient_bytes(*size, dense[i].width));
  *bytes = most;
  return RECIS_OK;
}

extern "C" int recis_linear_tile_prepare_size(const recis_dense_columns* dense, int64_t dense_count,
                                              const recis_tile* tiles, int64_t tile_count,
                                              const recis_linear_size* size, size_t* bytes) {
  using namespace recis;
  const char* op = "linear_tile.prepare_size";
  const Inputs inputs{dense, dense_count, tiles, tile_count};
  if (int status = first_of(require_sizes(inputs, size, op), require(bytes != nullptr, op, "bytes", "is null")))
    return status;
  for (int64_t i = 0; i < tile_count; ++i)
    if (int status = require(tiles[i].lookup.unique >= 0, op, "unique", "is negative")) return status;
  const Runs runs = make_runs(inputs, *size);
  *bytes = halves_fit(runs, *size) ? half_layer_bytes(runs, *size) : 0;
  return RECIS_OK;
}

extern "C" int recis_linear_tile_prepare(const recis_dense_columns* dense, int64_t dense_count,
                                         const recis_tile* tiles, int64_t tile_count, const float* weight,
                                         const recis_linear_size* size, void* prepared, size_t prepared_bytes,
                                         recis_stream_t stream) {
  using namespace recis;
  const char* op = "linear_tile.prepare";
  const Inputs inputs{dense, dense_count, tiles, tile_count};
  if (int status = require_sizes(inputs, size, op)) return status;
  const Runs runs = make_runs(inputs, *size);
  if (int status = first_of(require_arrays(inputs, *size, op),
                            require_array(weight, size->inputs * size->outputs, op, "weight"),
                            require_prepared(runs, *size, prepared, prepared_bytes, op)))
    return status;
  return prepared ? prepare_halves(op, runs, weight, *size, prepared, stream) : int(RECIS_OK);
}

extern "C" int recis_linear_tile_prepare_inputs(const recis_dense_columns* dense, int64_t dense_count,
                                                const recis_tile* tiles, int64_t tile_count,
                                                const recis_linear_size* size, void* prepared, size_t prepared_bytes,
                                                recis_stream_t stream) {
  using namespace recis;
  const char* op = "linear_tile.prepare_inputs";
  const Inputs inputs{dense, dense_count, tiles, tile_count};
  if (int status = require_sizes(inputs, size, op)) return status;
  const Runs runs = make_runs(inputs, *size);
  if (int status = first_of(require_arrays(inputs, *size, op),
                            require_prepared(runs, *size, prepared, prepared_bytes, op)))
    return status;
  return prepared ? prepare_half_inputs(op, runs, *size, prepared, stream) : int(RECIS_OK);
}

extern "C" int recis_linear_tile_prepare_backward(const float* d_y, const recis_linear_size* size, void* prepared,
                                                  size_t prepared_bytes, recis_stream_t stream) {
  using namespace recis;
  const char* op = "linear_tile.prepare_backward";
  if (int status = require_layer(size, op)) return status;
  if (int status = first_of(require_array(d_y, size->rows * size->outputs, op, "d_y"),
                            require_prepared_blocks(*size, prepared, prepared_bytes, op)))
    return status;
  return prepared ? prepare_half_gradient(op, d_y, *size, prepared, stream) : int(RECIS_OK);
}

extern "C" int recis_linear_tile_forward(const recis_dense_columns* dense, int64_t dense_count,
                                         const recis_tile* tiles, int64_t tile_count, const float* weight,
                                         const float* bias, float* y, const recis_linear_size* size,
                                         void* prepared, size_t prepared_bytes, void* workspace,
                                         size_t workspace_bytes, recis_stream_t stream) {
  using namespace recis;
  const char* op = "linear_tile.forward";
  const Inputs inputs{dense, dense_count, tiles, tile_count};
  if (int status = require_sizes(inputs, size, op)) return status;
  const TileForward problem = forward_problem(inputs, weight, bias, y, *size);
  if (int status = first_of(require_arrays(inputs, *size, op),
                            require_array(weight, size->inputs * size->outputs, op, "weight"),
                            require_array(bias, size->outputs, op, "bias"),
                            require_array(y, size->rows * size->outputs, op, "y"),
                            require_prepared(problem.runs, *size, prepared, prepared_bytes, op)))
    return status;
  const size_t needed =
      prepared ? half_forward_bytes(problem.runs, *size) : plan(problem, size->precision).bytes;
  if (int status = require_workspace(workspace, workspace_bytes, needed, op)) return status;
  if (prepared) return half_forward(op, problem.runs, bias, y, *size, prepared, workspace, stream);
  return multiply(op, problem, size->precision, workspace, stream);
}

extern "C" int recis_linear_tile_backward_weight(const recis_dense_columns* dense, int64_t dense_count,
                                                 const recis_tile* tiles, int64_t tile_count, const float* d_y,
                                                 float* d_weight, const recis_linear_size* size, int accumulate,
                                                 void* prepared, size_t prepared_bytes, void* workspace,
                                                 size_t workspace_bytes, recis_stream_t stream) {
  using namespace recis;
  const char* op = "linear_tile.backward_weight";
  const Inputs inputs{dense, dense_count, tiles, tile_count};
  if (int status = require_sizes(inputs, size, op)) return status;
  const TileWeight problem = weight_problem(inputs, d_y, d_weight, *size, accumulate != 0);
  if (int status = first_of(require_arrays(inputs, *size, op),
                            require_array(d_y, size->rows * size->outputs, op, "d_y"),
                            require_array(d_weight, size->inputs * size->outputs, op, "d_weight"),
                            require_prepared(problem.runs, *size, prepared, prepared_bytes, op)))
    return status;
  const size_t needed = prepared ? 0 : plan(problem, size->precision).bytes;
  if (int status = require_workspace(workspace, workspace_bytes, needed, op)) return status;
  if (prepared) return half_weight_gradient(op, problem.runs, d_weight, *size, accumulate != 0, prepared, stream);
  return multiply(op, problem, size->precision, workspace, stream);
}

extern "C" int recis_linear_tile_backward_dense(const float* d_y, const float* weight, float* d_x, int64_t width,
                                                int64_t first_column, const recis_linear_size* size,
                                                void* workspace, size_t workspace_bytes, recis_stream_t stream) {
  using namespace recis;
  const char* op = "linear_tile.backward_dense";
  if (int status = require_layer(size, op)) return status;
  const auto [rows, inputs, outputs, precision] = *size;
  if (int status = require_range(first_column, width, *size, op, "first_column", "width")) return status;
  const size_t needed = input_gradient_bytes(*size, width);
  if (int status = first_of(require_array(d_y, rows * outputs, op, "d_y"),
                            require_array(weight, inputs * outputs, op, "weight"),
                            require_array(d_x, rows * width, op, "d_x"),
                            require_workspace(workspace, workspace_bytes, needed, op)))
    return status;
  return input_gradient(op, d_y, weight + first_column, d_x, *size, width, workspace, stream);
}

extern "C" int recis_linear_tile_backward_tiles_workspace_size(const recis_tile* tiles, int64_t tile_count,
                                                               const recis_linear_size* size, int unordered,
                                                               size_t prepared_bytes, size_t* bytes) {
  using namespace recis;
  const char* op = "linear_tile.backward_tiles_workspace_size";
  const Inputs inputs{nullptr, 0, tiles, tile_count};
  if (int status = first_of(require_sizes(inputs, size, op), require(bytes != nullptr, op, "bytes", "is null")))
    return status;
  if (int status = require_tiles(inputs, op)) return status;
  Workspace needed;
  tile_gradients(needed, inputs, nullptr, *size, unordered != 0, prepared_bytes > 0);
  *bytes = needed.bytes();
  return RECIS_OK;
}

extern "C" int recis_linear_tile_begin_tiles(const recis_tile* tiles, int64_t tile_count,
                                             const recis_linear_size* size, size_t prepared_bytes, void* workspace,
                                             size_t workspace_bytes, recis_stream_t stream) {
  using namespace recis;
  const char* op = "linear_tile.begin_tiles";
  OrderFreeTiles sums;
  if (int status = find_sums({nullptr, 0, tiles, tile_count}, size, prepared_bytes, workspace, workspace_bytes, op, &sums))
    return status;
  return sums.count > 0 ? clear_order_free(op, sums, stream) : int(RECIS_OK);
}

extern "C" int recis_linear_tile_backward_tiles(const recis_tile* tiles, int64_t tile_count, const float* d_y,
                                                const float* weight, float* d_embeddings,
                                                const recis_linear_size* size, int unordered, void* prepared,
                                                size_t prepared_bytes, void* workspace, size_t workspace_bytes,
                                                recis_stream_t stream) {
  using namespace recis;
  const char* op = "linear_tile.backward_tiles";
  const Inputs inputs{nullptr, 0, tiles, tile_count};
  if (int status = require_sizes(inputs, size, op)) return status;
  if (int status = first_of(require_arrays(inputs, *size, op), require_tiles(inputs, op))) return status;
  Workspace cut(workspace);
  const auto [sums, d_x, rest, rest_bytes] =
      tile_gradients(cut, inputs, d_embeddings, *size, unordered != 0, prepared != nullptr);
  const int64_t unique = tile_count > 0 ? tiles[0].lookup.unique : 0;
  int status = first_of(require_array(d_y, size->rows * size->outputs, op, "d_y"),
                        require_array(weight, prepared ? 0 : size->inputs * size->outputs, op, "weight"),
                        require_array(d_embeddings, unordered ? unique : 0, op, "d_embeddings"),
                        require_prepared_blocks(*size, prepared, prepared_bytes, op),
                        require_workspace(workspace, workspace_bytes, cut.bytes(), op));
  for (int64_t i = 0; i < tile_count; ++i)
    status = first_of(status, require(!prepared || (tiles[i].lookup.dim % 8 == 0 && tiles[i].first_column % 8 == 0), op,
                                      "prepared", "is for tiles whose dim and first_column are multiples of 8"));
  if (status != RECIS_OK) return status;
  const Runs runs = make_runs(inputs, *size);
  if (runs.count == 0 || size->rows == 0 || unique == 0) return RECIS_OK;
  if (prepared) return half_input_gradient(op, runs, sums, *size, prepared, stream);
  for (int64_t i = 0, next = 0; i < tile_count && status == RECIS_OK; ++i) {
    const int64_t columns = tiles[i].tile_len * tiles[i].lookup.dim;
    if (columns == 0) continue;
    status = input_gradient(op, d_y, weight + tiles[i].first_column, d_x, *size, columns, rest, stream);
    if (status == RECIS_OK) status = add_order_free(op, sums.of[next++], tiles[i], d_x, stream);
  }
  return status;
}

extern "C" int recis_linear_tile_finish_tiles(const recis_tile* tiles, int64_t tile_count, float* d_embeddings,
                                              const recis_linear_size* size, size_t prepared_bytes, void* workspace,
                                              size_t workspace_bytes, recis_stream_t stream) {
  using namespace recis;
  const char* op = "linear_tile.finish_tiles";
  OrderFreeTiles sums;
  if (int status = find_sums({nullptr, 0, tiles, tile_count}, size, prepared_bytes, workspace, workspace_bytes, op, &sums))
    return status;
  const int64_t unique = tile_count > 0 ? tiles[0].lookup.unique : 0;
  if (int status = require_array(d_embeddings, unique, op, "d_embeddings")) return status;
  return sums.count > 0 ? finish_order_free(op, sums, d_embeddings, stream) : int(RECIS_OK);
}
