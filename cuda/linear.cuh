// What linear_tile shares with linear.
#pragma once

#include "common.cuh"

namespace recis {

// RECIS_OK if there is a layer of that size.
int require_layer(const recis_linear_size* size, const char* op);

// d_x [rows, columns] = d_y [rows, outputs] times `columns` columns of the weight, the first of which
// `weight` points to.
size_t input_gradient_bytes(const recis_linear_size& size, int64_t columns);
int input_gradient(const char* op, const float* d_y, const float* weight, float* d_x,
                   const recis_linear_size& size, int64_t columns, void* workspace, recis_stream_t stream);

}  // namespace recis
