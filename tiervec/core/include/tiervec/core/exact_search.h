#pragma once

#include <cstdint>

#include <tiervec/core/dtype.h>
#include <tiervec/core/parallel.h>

namespace tiervec {

struct ExactSearchRequest {
  const std::byte* data = nullptr;  // count x dim of dtype
  std::uint32_t count = 0;
  std::uint32_t dim = 0;
  Dtype dtype = Dtype::kFloat32;
  Metric metric = Metric::kL2;
  const std::byte* queries = nullptr;  // queries x dim of query_dtype(dtype)
  std::uint32_t query_count = 0;
  std::uint32_t k = 0;
  const std::int64_t* exclude = nullptr;  // one row per query to leave out, or null
  std::int64_t* ids = nullptr;            // queries x k, padded with -1
  float* distances = nullptr;             // queries x k, padded with +inf
};

/// Compares every query with every vector; ties by row. The reference of recall, and what calibration measures against.
void exact_search(const ExactSearchRequest& request, unsigned threads, WorkMonitor* monitor);

}  // namespace tiervec
