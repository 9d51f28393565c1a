// The backward pass of combine_tile, for operations that reduce a tile's gradient in their own name.
#pragma once

#include "common.cuh"

namespace recis {

// The workspace that combine_tile_backward needs. The arguments are those that it takes, and valid.
size_t combine_tile_backward_bytes(const recis_lookup& lookup, const recis_occurrences& occurrences);

// As recis_combine_tile_backward, under the name `op`; checks its arguments like it.
int combine_tile_backward(const char* op, const recis_lookup& lookup, const recis_occurrences& occurrences,
                          int64_t tile_len, const float* d_out, int64_t first_column, int64_t out_stride,
                          float* d_embeddings, void* workspace, size_t bytes, recis_stream_t stream);

// The same of a gradient in half floats [segments, tile_len * dim], each so many segments to be multiplied by one of
// `unscale`; dim is a multiple of 4.
constexpr int kHalfGradientRows = 128;
int combine_tile_backward_halves(const char* op, const recis_lookup& lookup, const recis_occurrences& occurrences,
                                 int64_t tile_len, const void* d_out, const float* unscale, float* d_embeddings,
                                 void* workspace, size_t bytes, recis_stream_t stream);

}  // namespace recis
