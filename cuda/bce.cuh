// Binary cross-entropy of one prediction.
#pragma once

#include "common.cuh"

namespace recis {

// The loss; the logarithms are bounded by -100, as torch's BCELoss does.
__device__ __forceinline__ float bce_loss(float p, float y) {
  return -(y * fmaxf(logf(p), -100.0f) + (1.0f - y) * fmaxf(log1pf(-p), -100.0f));
}

// The gradient of the mean over `rows` rows.
__device__ __forceinline__ float bce_gradient(float p, float y, float rows) {
  return (p - y) / fmaxf(p * (1.0f - p), 1e-12f) / rows;
}

}  // namespace recis
