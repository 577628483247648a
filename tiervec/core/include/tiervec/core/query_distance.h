#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <tiervec/core/dtype.h>
#include <tiervec/core/vector_kernels.h>

namespace tiervec {

/// Exact distances of one query at a time to stored vectors, in the unit of the metric: squared l2, minus the inner
/// product, or 1 - cosine. A vector of length 0 has cosine distance 1 to everything.
class QueryDistance {
 public:
  QueryDistance(Dtype dtype, Metric metric, std::uint32_t dim)
      : kernels_(vector_kernels(dtype)), dtype_(dtype), metric_(metric), dim_(dim), widened_(dim) {}

  /// `query` is borrowed, of query_dtype().
  void start(const std::byte* query) noexcept {
    query_ = query;
    widen(query_dtype(dtype_), query, dim_, widened_.data());
    if (metric_ == Metric::kCosine) {
      const VectorKernels& floats = vector_kernels(Dtype::kFloat32);
      const float squared = floats.pair_dot(widened_.data(), widened_.data(), dim_);
      inverse_norm_ = squared > 0 ? 1.0F / std::sqrt(squared) : 0.0F;
    }
  }
  /// The query as float32.
  [[nodiscard]] const float* widened() const noexcept { return widened_.data(); }

  [[nodiscard]] float operator()(const std::byte* vector) const noexcept {
    switch (metric_) {
      case Metric::kL2:
        return kernels_.query_l2(query_, vector, dim_);
      case Metric::kIp:
        return -kernels_.query_dot(query_, vector, dim_);
      case Metric::kCosine:
        break;
    }
    const float squared = kernels_.pair_dot(vector, vector, dim_);
    if (squared <= 0) return 1.0F;
    return 1.0F - kernels_.query_dot(query_, vector, dim_) * inverse_norm_ / std::sqrt(squared);
  }

  /// The same of many vectors, bit by bit.
  void of_rows(const std::byte* const* rows, std::size_t count, float* distances) const noexcept {
    switch (metric_) {
      case Metric::kL2:
        kernels_.query_l2_rows(query_, rows, count, dim_, distances);
        return;
      case Metric::kIp:
        kernels_.query_dot_rows(query_, rows, count, dim_, distances);
        for (std::size_t i = 0; i < count; ++i) distances[i] = -distances[i];
        return;
      case Metric::kCosine:
        for (std::size_t i = 0; i < count; ++i) distances[i] = (*this)(rows[i]);
        return;
    }
  }

 private:
  const VectorKernels& kernels_;
  Dtype dtype_;
  Metric metric_;
  std::uint32_t dim_;
  const std::byte* query_ = nullptr;
  float inverse_norm_ = 0;  // cosine
  std::vector<float> widened_;
};

}  // namespace tiervec
