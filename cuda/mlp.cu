// The small layers behind a network's first one, with the loss: forward and backward of a batch.
//
// A block takes eight rows through all layers and back. Weights and values stay in its shared memory; its
// part of the parameters' gradients goes to the workspace, where a second kernel adds up the blocks' parts.
#include "bce.cuh"
#include "ptx.cuh"
#include "unfit.cuh"

#include <algorithm>

namespace recis {
namespace {

constexpr int kLayers = 4, kWidth = kThreads, kRows = 8, kWarp = 32;
// More blocks would fill no device better, and each costs a sum of the gradients.
constexpr int64_t kBlocks = 256;
// What a block may have on every device from compute capability 8.0.
constexpr int64_t kShared = 99 << 10;

// One column of a block's rows.
struct alignas(16) Column {
  float row[kRows];
};

struct Layer {
  const float *weight, *bias;
  float *d_weight, *d_bias;
  int inputs, outputs;
  int first_column, first_weight;  // of its input and its weights, in shared memory
  int first_parameter;             // in a block's part of the gradients

  // From an output's weights to the next one's in shared memory; the bias stands behind the weights. Odd, so
  // that neighbouring threads meet no bank twice, whether they take neighbouring inputs or outputs.
  __host__ __device__ int pitch() const { return (inputs + 1) | 1; }
  __host__ __device__ int parameters() const { return outputs * (inputs + 1); }
};

struct Network {
  Layer layer[kLayers];
  int layers, columns, weights, parameters;

  size_t shared_bytes() const { return (kThreads + columns) * sizeof(Column) + weights * sizeof(float); }
};

struct Batch {
  const float *x, *label;
  int64_t rows;
  float *prediction, *d_x;
  uint64_t* unfit;
};

// How a block's threads share out `count` columns: a thread takes column n, and of what is to be done for it
// every parts-th piece from `part` on. A warp's threads have the same part: what all of them read is read once.
struct Share {
  int n, part, parts;
  bool works;

  __device__ explicit Share(int count) {
    const int lanes = (count + kWarp - 1) / kWarp * kWarp;
    n = int(threadIdx.x) % lanes, part = int(threadIdx.x) / lanes, parts = kThreads / lanes;
    works = n < count && part < parts;
  }
};

// Calls finish(n, sum over k of weight[n * n_step + k * k_step] * in[k]) for n < count, k < depth. All
// threads of the block take part; none reads `in` any more when one calls `finish`.
template <class Finish>
__device__ __forceinline__ void multiply(const float* weight, int n_step, int k_step, const Column* in, int depth,
                                         int count, Column* sums, Finish finish) {
  const Share share(count);
  if (share.works) {
    Column sum{};
    const float* w = weight + share.n * n_step;
#pragma unroll 4
    for (int k = share.part; k < depth; k += share.parts) {
      const Column column = in[k];
      for (int r = 0; r < kRows; ++r) sum.row[r] += w[k * k_step] * column.row[r];
    }
    sums[share.part * count + share.n] = sum;
  }
  __syncthreads();
  const int n = int(threadIdx.x);
  if (n < count) {
    Column sum = sums[n];
#pragma unroll 1
    for (int part = 1; part < share.parts; ++part) {
      const Column more = sums[part * count + n];
      for (int r = 0; r < kRows; ++r) sum.row[r] += more.row[r];
    }
    finish(n, sum);
  }
  __syncthreads();
}

// A layer's weights and biases, on their way to shared memory.
__device__ __forceinline__ void load_weights(const Layer& layer, float* weights) {
  const Share share(layer.inputs);
  float* to = weights + layer.first_weight;
  if (share.works)
#pragma unroll 8
    for (int o = share.part; o < layer.outputs; o += share.parts)
      copy_async(&to[o * layer.pitch() + share.n], &layer.weight[o * layer.inputs + share.n]);
  const int o = int(threadIdx.x);
  if (o < layer.outputs) copy_async(&to[o * layer.pitch() + layer.inputs], &layer.bias[o]);
}

// Writes the gradients of a layer's parameters, over the block's rows, or adds them.
__device__ __forceinline__ void weight_gradient(const Layer& layer, const Column* x, const Column* d_z,
                                                float* gradients, bool add) {
  const auto put = [&](int i, float sum) { gradients[i] = add ? gradients[i] + sum : sum; };
  const Share share(layer.inputs);
  if (share.works) {
    const Column input = x[share.n];
#pragma unroll 4
    for (int o = share.part; o < layer.outputs; o += share.parts) {
      const Column d = d_z[o];
      float sum = 0;
      for (int r = 0; r < kRows; ++r) sum += d.row[r] * input.row[r];
      put(o * layer.inputs + share.n, sum);
    }
  }
  const int o = int(threadIdx.x);
  if (o < layer.outputs) {
    float sum = 0;
    for (int r = 0; r < kRows; ++r) sum += d_z[o].row[r];
    put(layer.outputs * layer.inputs + o, sum);
  }
}

// From the last layer's sums to the predictions, and back to the sums' gradient, which takes their place.
// Thread 0 gets the rows' loss.
__device__ __forceinline__ double head(const Batch& batch, int64_t first_row, float label, Column* last) {
  const int r = int(threadIdx.x);
  const int64_t row = first_row + r;
  double loss = 0;
  if (r < kRows) {
    float d_z = 0;
    if (row < batch.rows) {
      const float p = 1.0f / (1.0f + expf(-last->row[r]));
      if (!(p >= 0.0f && p <= 1.0f)) report_unfit(batch.unfit, row, p);
      batch.prediction[row] = p;
      loss = double(bce_loss(p, label));
      d_z = bce_gradient(p, label, float(batch.rows)) * (p * (1.0f - p));
    }
    last->row[r] = d_z;
  }
  if (r < kWarp)
    for (int apart = kRows / 2; apart > 0; apart /= 2) loss += __shfl_down_sync(~0u, loss, apart);
  return loss;
}

// `gradients` [blocks, parameters] and `losses` [blocks] take each block's part. Rows that are not there are
// zeros, before each layer and in the gradients.
__global__ void __launch_bounds__(kThreads)
    train_kernel(Network network, Batch batch, float* gradients, double* losses) {
  wait_for_stream();
  Column* sums = dynamic_shared<Column>();
  Column* columns = sums + kThreads;
  float* weights = reinterpret_cast<float*>(columns + network.columns);
  gradients += int64_t(blockIdx.x) * network.parameters;
  for (int l = 0; l < network.layers; ++l) load_weights(network.layer[l], weights);

  const int n = int(threadIdx.x), width = network.layer[0].inputs;
  double loss = 0;
  const int64_t step = int64_t(gridDim.x) * kRows, begin = int64_t(blockIdx.x) * kRows;
  for (int64_t first_row = begin; first_row < batch.rows; first_row += step) {
    const int rows = int(min(int64_t(kRows), batch.rows - first_row));
    const float label = n < rows ? batch.label[first_row + n] : 0.0f;
    // NaN fails the comparison and is kept.
    const auto relu = [&](float z, int r) { return r >= rows || z < 0.0f ? 0.0f : z; };
    if (n < width) {
      Column column;
      for (int r = 0; r < kRows; ++r)
        column.row[r] = relu(r < rows ? batch.x[(first_row + r) * width + n] : 0.0f, r);
      columns[n] = column;
    }
    copy_wait();
    __syncthreads();

    for (int l = 0; l < network.layers; ++l) {
      const Layer& layer = network.layer[l];
      const float* weight = weights + layer.first_weight;
      const Column* x = columns + layer.first_column;
      Column* y = columns + layer.first_column + layer.inputs;
      const bool last = l + 1 == network.layers;
      multiply(weight, layer.pitch(), 1, x, layer.inputs, layer.outputs, sums, [&](int o, Column z) {
        const float bias = weight[o * layer.pitch() + layer.inputs];
        for (int r = 0; r < kRows; ++r) z.row[r] = last ? z.row[r] + bias : relu(z.row[r] + bias, r);
        y[o] = z;
      });
    }
    loss += head(batch, first_row, label, &columns[network.columns - 1]);
    __syncthreads();

    // The gradient of each layer's input takes the input's place.
    for (int l = network.layers - 1; l >= 0; --l) {
      const Layer& layer = network.layer[l];
      Column* x = columns + layer.first_column;
      const Column* d_z = x + layer.inputs;
      weight_gradient(layer, x, d_z, gradients + layer.first_parameter, first_row != begin);
      multiply(weights + layer.first_weight, 1, layer.pitch(), d_z, layer.outputs, layer.inputs, sums,
               [&](int i, Column d) {
                 for (int r = 0; r < kRows; ++r) d.row[r] = x[i].row[r] > 0.0f ? d.row[r] : 0.0f;
                 x[i] = d;
                 for (int r = 0; r < kRows; ++r)
                   if (l == 0 && r < rows) batch.d_x[(first_row + r) * width + i] = d.row[r];
               });
    }
  }
  if (n == 0) losses[blockIdx.x] = loss;
}

__device__ __forceinline__ float* gradient_of(const Network& network, int parameter) {
  int l = 0;
  while (l + 1 < network.layers && parameter >= network.layer[l + 1].first_parameter) ++l;
  const Layer& layer = network.layer[l];
  const int i = parameter - layer.first_parameter, weights = layer.outputs * layer.inputs;
  return i < weights ? layer.d_weight + i : layer.d_bias + (i - weights);
}

// Adds up the blocks' gradients, 32 parameters a block and a part of them a warp, and their losses.
__global__ void __launch_bounds__(kThreads)
    sum_kernel(Network network, const float* gradients, const double* losses, int blocks,
               int64_t rows, float* loss, bool accumulate) {
  wait_for_stream();
  constexpr int kParts = kThreads / kWarp;
  __shared__ float sums[kParts][kWarp];
  const int lane = int(threadIdx.x) % kWarp, part = int(threadIdx.x) / kWarp;
  const int parameter = int(blockIdx.x) * kWarp + lane;
  float sum = 0;
  if (parameter < network.parameters) {
#pragma unroll 16
    for (int block = part; block < blocks; block += kParts)
      sum += gradients[int64_t(block) * network.parameters + parameter];
  }
  sums[part][lane] = sum;
  __syncthreads();
  if (part == 0 && parameter < network.parameters) {
    for (int other = 1; other < kParts; ++other) sum += sums[other][lane];
    float* gradient = gradient_of(network, parameter);
    *gradient = accumulate ? *gradient + sum : sum;
  }
  if (part != 1 || blockIdx.x != 0) return;
  double all = 0;
  for (int block = lane; block < blocks; block += kWarp) all += losses[block];
  for (int apart = kWarp / 2; apart > 0; apart /= 2) all += __shfl_down_sync(~0u, all, apart);
  if (lane == 0) loss[0] = float(all / double(rows));
}

int require_network(const recis_mlp_layer* layers, int64_t count, int64_t rows, const char* op) {
  if (int status = first_of(require(layers != nullptr, op, "layers", "is null"),
                            require(count >= 1 && count <= kLayers, op, "layer_count", "is not 1 to 4"),
                            require(rows >= 1, op, "rows", "is below 1"), require_reportable(rows, op, "rows")))
    return status;
  const auto is_width = [](int64_t width) { return width >= 1 && width <= kWidth; };
  for (int64_t l = 0; l < count; ++l) {
    const int64_t next = l + 1 < count ? layers[l + 1].inputs : 1;
    if (int status = first_of(require(is_width(layers[l].inputs), op, "inputs", "is not 1 to 256"),
                              require(is_width(layers[l].outputs), op, "outputs", "is not 1 to 256"),
                              require(layers[l].outputs == next, op, "outputs",
                                      l + 1 < count ? "differs from the next layer's inputs"
                                                    : "of the last layer is not 1")))
      return status;
  }
  return RECIS_OK;
}

Network make_network(const recis_mlp_layer* layers, int64_t count) {
  Network network{};
  network.layers = int(count);
  for (int l = 0; l < network.layers; ++l) {
    const auto& [weight, bias, d_weight, d_bias, inputs, outputs] = layers[l];
    Layer& layer = network.layer[l];
    layer = {weight, bias, d_weight, d_bias, int(inputs), int(outputs),
             network.columns, network.weights, network.parameters};
    network.columns += layer.inputs;
    network.weights += layer.outputs * layer.pitch();
    network.parameters += layer.parameters();
  }
  network.columns += 1;  // the last layer's output
  return network;
}

int require_fits(const Network& network, const char* op) {
  return require(network.shared_bytes() <= kShared, op, "layers", "take more than 99 KiB of shared memory");
}

struct Scratch {
  int64_t blocks;
  Workspace workspace;
  float* gradients;
  double* losses;

  Scratch(const Network& network, int64_t rows, void* memory)
      : blocks(std::min(kBlocks, (rows + kRows - 1) / kRows)),
        workspace(memory),
        gradients(workspace.take<float>(blocks * network.parameters)),
        losses(workspace.take<double>(blocks)) {}
};

// The layers of a call, their arrays, and a workspace that is enough.
int require_call(const recis_mlp_layer* layers, int64_t layer_count, int64_t rows, void* workspace,
                 size_t workspace_bytes, const char* op) {
  if (int status = require_network(layers, layer_count, rows, op)) return status;
  const Network network = make_network(layers, layer_count);
  const size_t needed = Scratch(network, rows, nullptr).workspace.bytes();
  if (int status = first_of(require_fits(network, op), require_workspace(workspace, workspace_bytes, needed, op)))
    return status;
  for (const recis_mlp_layer* layer = layers; layer < layers + layer_count; ++layer) {
    const int64_t weights = layer->inputs * layer->outputs;
    if (int status = first_of(require_array(layer->weight, weights, op, "weight"),
                              require_array(layer->bias, layer->outputs, op, "bias"),
                              require_array(layer->d_weight, weights, op, "d_weight"),
                              require_array(layer->d_bias, layer->outputs, op, "d_bias")))
      return status;
  }
  return RECIS_OK;
}

}  // namespace
}  // namespace recis

extern "C" int recis_mlp_workspace_size(const recis_mlp_layer* layers, int64_t layer_count, int64_t rows,
                                        size_t* bytes) {
  using namespace recis;
  const char* op = "mlp.workspace_size";
  if (int status = first_of(require_network(layers, layer_count, rows, op),
                            require(bytes != nullptr, op, "bytes", "is null")))
    return status;
  const Network network = make_network(layers, layer_count);
  if (int status = require_fits(network, op)) return status;
  *bytes = Scratch(network, rows, nullptr).workspace.bytes();
  return RECIS_OK;
}

extern "C" int recis_mlp_train(const float* x, const float* label, const recis_mlp_layer* layers,
                               int64_t layer_count, int64_t rows, float* prediction, float* d_x, uint64_t* unfit,
                               void* workspace, size_t workspace_bytes, recis_stream_t stream) {
  using namespace recis;
  const char* op = "mlp.train";
  if (int status = require_call(layers, layer_count, rows, workspace, workspace_bytes, op)) return status;
  if (int status = first_of(require_array(x, rows * layers[0].inputs, op, "x"),
                            require_array(label, rows, op, "label"),
                            require_array(prediction, rows, op, "prediction"),
                            require_array(d_x, rows * layers[0].inputs, op, "d_x"),
                            require_array(unfit, 1, op, "unfit")))
    return status;
  const Network network = make_network(layers, layer_count);
  const Scratch scratch(network, rows, workspace);
  const Batch batch{x, label, rows, prediction, d_x, unfit};
  return launch(op, train_kernel, unsigned(scratch.blocks), kThreads, network.shared_bytes(), stream, network, batch,
                scratch.gradients, scratch.losses);
}

extern "C" int recis_mlp_finish(const recis_mlp_layer* layers, int64_t layer_count, int64_t rows, float* loss,
                                int accumulate, void* workspace, size_t workspace_bytes, recis_stream_t stream) {
  using namespace recis;
  const char* op = "mlp.finish";
  if (int status = require_call(layers, layer_count, rows, workspace, workspace_bytes, op)) return status;
  if (int status = require_array(loss, 1, op, "loss")) return status;
  const Network network = make_network(layers, layer_count);
  const Scratch scratch(network, rows, workspace);
  const unsigned blocks = unsigned((network.parameters + kWarp - 1) / kWarp);
  return launch(op, sum_kernel, blocks, kThreads, 0, stream, network, scratch.gradients, scratch.losses,
                int(scratch.blocks), rows, loss, accumulate != 0);
}
