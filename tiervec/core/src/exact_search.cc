#include <tiervec/core/exact_search.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include <tiervec/core/vector_kernels.h>

namespace tiervec {
namespace {

constexpr std::size_t kQueriesAtOnce = 8;      // share one pass over the data
constexpr std::size_t kBlockBytes = 64 << 10;  // of the data, stays in the first cache levels for all of them

using Scored = std::pair<float, std::int64_t>;

/// The k nearest so far as a heap, farthest on top.
void offer(std::vector<Scored>& heap, std::size_t k, Scored scored) {
  if (heap.size() == k) {
    if (!(scored < heap.front())) return;
    std::pop_heap(heap.begin(), heap.end());
    heap.pop_back();
  }
  heap.push_back(scored);
  std::push_heap(heap.begin(), heap.end());
}

float inverse_norm(float squared) noexcept {
  return squared > 0 ? 1.0F / std::sqrt(squared) : 0.0F;
}

float distance(Metric metric, const VectorKernels& kernels, const std::byte* query, float query_inverse_norm,
               const std::byte* vector, std::size_t dim) noexcept {
  if (metric == Metric::kL2) return kernels.query_l2(query, vector, dim);
  const float dot = kernels.query_dot(query, vector, dim);
  if (metric == Metric::kIp) return -dot;
  // The same operations as a search of an index, so that both round alike.
  const float squared = kernels.pair_dot(vector, vector, dim);
  return squared > 0 ? 1.0F - dot * query_inverse_norm / std::sqrt(squared) : 1.0F;
}

}  // namespace

void exact_search(const ExactSearchRequest& request, unsigned threads, WorkMonitor* monitor) {
  const VectorKernels& kernels = vector_kernels(request.dtype);
  const VectorKernels& query_kernels = vector_kernels(query_dtype(request.dtype));
  const std::size_t row_bytes = request.dim * element_bytes(request.dtype);
  const std::size_t query_bytes = request.dim * element_bytes(query_dtype(request.dtype));
  const std::size_t block = std::max<std::size_t>(1, kBlockBytes / std::max<std::size_t>(1, row_bytes));
  if (monitor != nullptr) monitor->total = request.query_count;
  parallel_blocks(
      request.query_count, kQueriesAtOnce, threads, monitor, [&](std::size_t begin, std::size_t end, unsigned) {
        std::vector<std::vector<Scored>> heaps(end - begin);
        std::vector<float> inverse_norms(end - begin);
        for (std::size_t q = begin; q < end; ++q) {
          const std::byte* query = request.queries + q * query_bytes;
          inverse_norms[q - begin] = inverse_norm(query_kernels.pair_dot(query, query, request.dim));
        }
        for (std::size_t from = 0; from < request.count; from += block) {
          if (monitor != nullptr && monitor->cancelled.load(std::memory_order_relaxed)) {  // a pass may take seconds
            throw Error(ErrorCode::kCancelled, "stopped by request");
          }
          const std::size_t to = std::min<std::size_t>(from + block, request.count);
          for (std::size_t q = begin; q < end; ++q) {
            const std::int64_t excluded = request.exclude == nullptr ? -1 : request.exclude[q];
            for (std::size_t row = from; row < to; ++row) {
              if (static_cast<std::int64_t>(row) == excluded) continue;
              const float d = distance(request.metric, kernels, request.queries + q * query_bytes,
                                       inverse_norms[q - begin], request.data + row * row_bytes, request.dim);
              offer(heaps[q - begin], request.k, {d, static_cast<std::int64_t>(row)});
            }
          }
        }
        for (std::size_t q = begin; q < end; ++q) {
          auto& heap = heaps[q - begin];
          std::sort_heap(heap.begin(), heap.end());
          heap.resize(request.k, {std::numeric_limits<float>::infinity(), -1});
          for (std::size_t i = 0; i < request.k; ++i) {
            request.distances[q * request.k + i] = heap[i].first;
            request.ids[q * request.k + i] = heap[i].second;
          }
        }
      });
}

}  // namespace tiervec
