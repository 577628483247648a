#include <tiervec/graph_index/vector_space.h>

#include <algorithm>
#include <cmath>

#include <tiervec/core/parallel.h>

namespace tiervec::graph_index {
namespace {

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
  extra_.resize(count);
  parallel_blocks(count, 4096, threads, nullptr, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t i = begin; i < end; ++i) {
      const std::byte* x = vector(static_cast<std::uint32_t>(i));
      const float squared = kernels_.pair_dot(x, x, dim_);
      extra_[i] = metric == Metric::kIp ? squared : squared > 0 ? 1.0F / std::sqrt(squared) : 1.0F;
    }
  });
  if (metric == Metric::kIp && count > 0) {
    const float largest = *std::max_element(extra_.begin(), extra_.end());
    for (float& squared : extra_) squared = std::sqrt(std::max(0.0F, largest - squared));
  }
}

}  // namespace tiervec::graph_index
