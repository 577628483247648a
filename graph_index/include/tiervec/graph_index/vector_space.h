#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <tiervec/core/dtype.h>
#include <tiervec/core/vector_kernels.h>

namespace tiervec::graph_index {

/// Vectors in this process's memory with the distance that a graph is built by, always a squared Euclidean one so that
/// pruning by alpha makes sense:
///   l2       between the vectors
///   cosine   between their unit vectors
///   ip       between the vectors with one more coordinate sqrt(M^2 - |x|^2), M the largest norm; neighbours by inner
///            product are then neighbours by distance (Bachrach et al., RecSys'14)
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
      return 2.0F - 2.0F * kernels_.pair_dot(vector(a), vector(b), dim_) * extra_[a] * extra_[b];
    }
    const float lift = extra_[a] - extra_[b];
    return kernels_.pair_l2(vector(a), vector(b), dim_) + lift * lift;
  }

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
  std::vector<float> extra_;  // cosine: 1 / norm; ip: the added coordinate; l2: empty
};

}  // namespace tiervec::graph_index
