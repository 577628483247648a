#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <tiervec/core/dtype.h>
#include <tiervec/core/vector_kernels.h>

namespace tiervec::graph_index {

/// Vectors in this process's memory with the distance that a graph is built by. Smaller is closer; each is what a
/// search compares by, so that a build's searches take the ways that queries will take:
///   l2       squared, between the vectors
///   cosine   squared Euclidean between their unit vectors
///   ip       minus the inner product: no metric, so pruning has a rule of its own (robust_prune.h)
/// Borrows the data, row-major `count` x `dim`.
class VectorSpace {
 public:
  VectorSpace(const void* data, std::uint32_t count, std::uint32_t dim, Dtype dtype, Metric metric, unsigned threads);

  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint32_t dim() const noexcept { return dim_; }
  [[nodiscard]] Dtype dtype() const noexcept { return dtype_; }
  [[nodiscard]] Metric metric() const noexcept { return metric_; }
  [[nodiscard]] std::size_t vector_bytes() const noexcept { return vector_bytes_; }
  [[nodiscard]] const std::byte* vector(std::uint32_t id) const noexcept { return data_ + id * vector_bytes_; }

  [[nodiscard]] float distance(std::uint32_t a, std::uint32_t b) const noexcept {
    if (metric_ == Metric::kL2) {
      return kernels_.pair_l2(vector(a), vector(b), dim_);
    }
    if (metric_ == Metric::kCosine) {
      return unit_distance(a, b);
    }
    return -kernels_.pair_dot(vector(a), vector(b), dim_);
  }

  /// Squared Euclidean distance between the unit vectors of `a` and `b`. Not for l2.
  [[nodiscard]] float unit_distance(std::uint32_t a, std::uint32_t b) const noexcept {
    return 2.0F - 2.0F * kernels_.pair_dot(vector(a), vector(b), dim_) * inverse_norms_[a] * inverse_norms_[b];
  }

  /// True when `a` and `b`, at `distance` from each other, are equal as far as the metric can tell.
  [[nodiscard]] bool twins(std::uint32_t a, std::uint32_t b, float distance) const noexcept;

  // Always inlined: g++ takes a function that only prefetches for one without effects and drops the calls.
  [[gnu::always_inline]] void prefetch(std::uint32_t id) const noexcept {
    const std::byte* at = vector(id);
    for (std::size_t line = 0; line < prefetch_bytes_; line += 64) {
      __builtin_prefetch(at + line, 0, 3);
    }
  }

 private:
  const std::byte* data_;
  std::uint32_t count_;
  std::uint32_t dim_;
  Dtype dtype_;
  Metric metric_;
  std::size_t vector_bytes_;
  std::size_t prefetch_bytes_;
  const VectorKernels& kernels_;
  std::vector<float> inverse_norms_;  // 1 for a zero vector; l2: empty
};

}  // namespace tiervec::graph_index
