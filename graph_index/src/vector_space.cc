#include <tiervec/graph_index/vector_space.h>

#include <algorithm>
#include <cmath>

#include <tiervec/core/parallel.h>

namespace tiervec::graph_index {
namespace {

constexpr float kUnitRounding = 1e-6F;       // of the squared distance between two unit vectors
constexpr std::size_t kPrefetchBytes = 512;  // beyond it the hardware's own prefetcher follows

}  // namespace

VectorSpace::VectorSpace(const void* data, std::uint32_t count, std::uint32_t dim, Dtype dtype, Metric metric,
                         unsigned threads)
    : data_(static_cast<const std::byte*>(data)),
      count_(count),
      dim_(dim),
      dtype_(dtype),
      metric_(metric),
      vector_bytes_(dim * element_bytes(dtype)),
      prefetch_bytes_(std::min(vector_bytes_, kPrefetchBytes)),
      kernels_(vector_kernels(dtype)) {
  if (metric == Metric::kL2) {
    return;
  }
  inverse_norms_.resize(count);
  parallel_blocks(count, 4096, threads, nullptr, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t i = begin; i < end; ++i) {
      const std::byte* x = vector(static_cast<std::uint32_t>(i));
      const float squared = kernels_.pair_dot(x, x, dim_);
      inverse_norms_[i] = squared > 0 ? 1.0F / std::sqrt(squared) : 1.0F;
    }
  });
}

bool VectorSpace::twins(std::uint32_t a, std::uint32_t b, float distance) const noexcept {
  if (metric_ == Metric::kL2) return distance <= 0;
  if (metric_ == Metric::kCosine) return distance <= kUnitRounding;
  return inverse_norms_[a] == inverse_norms_[b] && unit_distance(a, b) <= kUnitRounding;
}

}  // namespace tiervec::graph_index
