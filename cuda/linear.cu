// A fully connected layer.
#include "linear.cuh"
#include "matrix.cuh"

namespace recis {
namespace {

constexpr int kSumColumns = 8, kSumRows = kThreads / kSumColumns;

// A block sums eight columns: 32 bytes of each row, a sector.
__global__ void __launch_bounds__(kThreads)
    bias_kernel(const float* d_y, float* d_bias, int64_t rows, int64_t outputs, bool accumulate) {
  wait_for_stream();
  __shared__ double sums[kSumRows][kSumColumns];
  const int lane = int(threadIdx.x) % kSumColumns, first = int(threadIdx.x) / kSumColumns;
  const int64_t column = int64_t(blockIdx.x) * kSumColumns + lane;
  double sum = 0;
  if (column < outputs) {
#pragma unroll 8
    for (int64_t row = first; row < rows; row += kSumRows) sum += double(d_y[row * outputs + column]);
  }
  sums[first][lane] = sum;
  for (int half = kSumRows / 2; half > 0; half /= 2) {
    __syncthreads();
    if (first < half) sums[first][lane] += sums[first + half][lane];
  }
  if (first == 0 && column < outputs) {
    const float total = float(sums[0][lane]);
    d_bias[column] = accumulate ? d_bias[column] + total : total;
  }
}

// d_bias = the sum of d_y over the rows, or added to what is there.
int bias_gradient(const char* op, const float* d_y, float* d_bias, int64_t rows, int64_t outputs, bool accumulate,
                  recis_stream_t stream) {
  const unsigned blocks = unsigned((outputs + kSumColumns - 1) / kSumColumns);
  return launch(op, bias_kernel, blocks, kThreads, 0, stream, d_y, d_bias, rows, outputs, accumulate);
}

Product<LoadAlong, LoadAlong> forward_product(const float* x, const float* weight, const float* bias, float* y,
                                              const recis_linear_size& size) {
  return {matrix(x, size.inputs, size.rows, size.inputs),
          matrix(weight, size.inputs, size.outputs, size.inputs), int(size.inputs),
          output(y, size.outputs, size.outputs, bias, false)};
}

Product<LoadAcross, LoadAcross> weight_product(const float* x, const float* d_y, float* d_weight,
                                               const recis_linear_size& size, bool accumulate) {
  return {matrix(d_y, size.outputs, size.outputs, size.outputs),
          matrix(x, size.inputs, size.inputs, size.inputs), int(size.rows),
          output(d_weight, size.inputs, size.inputs, nullptr, accumulate)};
}

Product<LoadAlong, LoadAcross> input_product(const float* d_y, const float* weight, float* d_x,
                                             const recis_linear_size& size, int64_t columns) {
  return {matrix(d_y, size.outputs, size.rows, size.outputs), matrix(weight, size.inputs, columns, columns),
          int(size.outputs), output(d_x, columns, columns, nullptr, false)};
}

}  // namespace

int require_layer(const recis_linear_size* size, const char* op) {
  if (!size) return require(false, op, "size", "is null");
  const auto [rows, inputs, outputs, precision] = *size;
  const bool known = precision == RECIS_FP32 || precision == RECIS_TF32 || precision == RECIS_BF16;
  if (int status = first_of(require(rows >= 0, op, "size", "has negative rows"),
                            require(inputs >= 1, op, "size", "has no inputs"),
                            require(outputs >= 1, op, "size", "has no outputs"),
                            require(known, op, "size", "has an unknown precision")))
    return status;
  // So that tiles can be counted in 32 bits.
  constexpr int64_t kLines = int64_t(1) << 30, kElements = int64_t(1) << 40;
  const bool fits = std::max({rows, inputs, outputs}) <= kLines && rows * inputs <= kElements &&
                    rows * outputs <= kElements && inputs * outputs <= kElements;
  return require(fits, op, "size", "is too large");
}

size_t input_gradient_bytes(const recis_linear_size& size, int64_t columns) {
  return plan(input_product(nullptr, nullptr, nullptr, size, columns), size.precision).bytes;
}

int input_gradient(const char* op, const float* d_y, const float* weight, float* d_x,
                   const recis_linear_size& size, int64_t columns, void* workspace, recis_stream_t stream) {
  return multiply(op, input_product(d_y, weight, d_x, size, columns), size.precision, workspace, stream);
}

}  // namespace recis

extern "C" int recis_linear_workspace_size(const recis_linear_size* size, size_t* bytes) {
  using namespace recis;
  const char* op = "linear.workspace_size";
  if (int status = first_of(require_layer(size, op), require(bytes != nullptr, op, "bytes", "is null")))
    return status;
  *bytes = std::max({plan(forward_product(nullptr, nullptr, nullptr, nullptr, *size), size->precision).bytes,
                     plan(weight_product(nullptr, nullptr, nullptr, *size, false), size->precision).bytes,
                     input_gradient_bytes(*size, size->inputs)});
  return RECIS_OK;
}

extern "C" int recis_linear_forward(const float* x, const float* weight, const float* bias, float* y,
                                    const recis_linear_size* size, void* workspace, size_t workspace_bytes,
                                    recis_stream_t stream) {
  using namespace recis;
  const char* op = "linear.forward";
  if (int status = require_layer(size, op)) return status;
  const auto [rows, inputs, outputs, precision] = *size;
  const auto product = forward_product(x, weight, bias, y, *size);
  if (int status = first_of(require_array(x, rows * inputs, op, "x"),
                            require_array(weight, inputs * outputs, op, "weight"),
                            require_array(bias, outputs, op, "bias"),
                            require_array(y, rows * outputs, op, "y"),
                            require_workspace(workspace, workspace_bytes, plan(product, precision).bytes, op)))
    return status;
  return multiply(op, product, precision, workspace, stream);
}

extern "C" int recis_linear_backward_weight(const float* x, const float* d_y, float* d_weight, float* d_bias,
                                            const recis_linear_size* size, int accumulate, void* workspace,
                                            size_t workspace_bytes, recis_stream_t stream) {
  using namespace recis;
  const char* op = "linear.backward_weight";
  if (int status = require_layer(size, op)) return status;
  const auto [rows, inputs, outputs, precision] = *size;
  const auto product = weight_product(x, d_y, d_weight, *size, accumulate != 0);
  if (int status = first_of(require_array(x, rows * inputs, op, "x"),
                            require_array(d_y, rows * outputs, op, "d_y"),
                            require_array(d_weight, inputs * outputs, op, "d_weight"),
                            require_array(d_bias, outputs, op, "d_bias"),
                            require_workspace(workspace, workspace_bytes, plan(product, precision).bytes, op)))
    return status;
  if (int status = multiply(op, product, precision, workspace, stream)) return status;
  return bias_gradient(op, d_y, d_bias, rows, outputs, accumulate != 0, stream);
}

extern "C" int recis_linear_backward_bias(const float* d_y, float* d_bias, const recis_linear_size* size,
                                          int accumulate, recis_stream_t stream) {
  using namespace recis;
  const char* op = "linear.backward_bias";
  if (int status = require_layer(size, op)) return status;
  if (int status = first_of(require_array(d_y, size->rows * size->outputs, op, "d_y"),
                            require_array(d_bias, size->outputs, op, "d_bias")))
    return status;
  return bias_gradient(op, d_y, d_bias, size->rows, size->outputs, accumulate != 0, stream);
}

extern "C" int recis_linear_backward_input(const float* d_y, const float* weight, float* d_x,
                                           const recis_linear_size* size, void* workspace, size_t workspace_bytes,
                                           recis_stream_t stream) {
  using namespace recis;
  const char* op = "linear.backward_input";
  if (int status = require_layer(size, op)) return status;
  const auto [rows, inputs, outputs, precision] = *size;
  const size_t needed = input_gradient_bytes(*size, inputs);
  if (int status = first_of(require_array(d_y, rows * outputs, op, "d_y"),
                            require_array(weight, inputs * outputs, op, "weight"),
                            require_array(d_x, rows * inputs, op, "d_x"),
                            require_workspace(workspace, workspace_bytes, needed, op)))
    return status;
  return input_gradient(op, d_y, weight, d_x, *size, inputs, workspace, stream);
}
