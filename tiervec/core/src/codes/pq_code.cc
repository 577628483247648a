#include <tiervec/core/codes/pq_code.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include <tiervec/core/status.h>

namespace tiervec::codes {
namespace {

constexpr std::uint32_t kCentroids = PqCodeParameters::kCentroids;

float inverse_norm(const float* vector, std::size_t dim) noexcept {
  float norm = 0;
  for (std::size_t i = 0; i < dim; ++i) norm += vector[i] * vector[i];
  return norm > 0 ? 1.0F / std::sqrt(norm) : 1.0F;
}

}  // namespace

PqCode::PqCode(PqCodeParameters parameters) : parameters_(std::move(parameters)) {
  const auto& p = parameters_;
  if (p.dim == 0 || p.parts == 0 || p.dim % p.parts != 0 || p.centroids.size() != std::size_t{p.dim} * kCentroids) {
    throw Error(ErrorCode::kInvalidArgument, "pq code: " + std::to_string(p.parts) + " parts of dimension " +
                                                 std::to_string(p.dim) + " with " + std::to_string(p.centroids.size()) +
                                                 " centroid values; parts must divide the dimension and each "
                                                 "part has " +
                                                 std::to_string(kCentroids) + " centroids");
  }
}

// State: a table of parts x 256 partial distances in the metric's unit.
std::size_t PqCode::query_bytes() const noexcept {
  return std::size_t{parameters_.parts} * kCentroids * sizeof(float);
}

std::size_t PqCode::parameter_bytes() const noexcept {
  return parameters_.centroids.size() * sizeof(float);
}

void PqCode::encode(const float* vectors, std::size_t count, std::uint8_t* rows) const {
  const std::size_t width = parameters_.dim / parameters_.parts;
  std::vector<float> vector(parameters_.dim);
  for (std::size_t i = 0; i < count; ++i) {
    const float* x = vectors + i * parameters_.dim;
    const float scale = parameters_.metric == Metric::kCosine ? inverse_norm(x, parameters_.dim) : 1.0F;
    std::transform(x, x + parameters_.dim, vector.begin(), [scale](float value) { return value * scale; });
    for (std::size_t part = 0; part < parameters_.parts; ++part) {
      const float* centroid = parameters_.centroids.data() + part * kCentroids * width;
      float nearest = std::numeric_limits<float>::infinity();
      std::uint8_t best = 0;
      for (std::uint32_t c = 0; c < kCentroids; ++c, centroid += width) {
        float distance = 0;
        for (std::size_t j = 0; j < width; ++j) {
          const float d = vector[part * width + j] - centroid[j];
          distance += d * d;
        }
        if (distance < nearest) {
          nearest = distance;
          best = static_cast<std::uint8_t>(c);
        }
      }
      rows[i * parameters_.parts + part] = best;
    }
  }
}

void PqCode::make_query(const float* query, std::byte* state) const noexcept {
  auto* table = reinterpret_cast<float*>(state);
  const std::size_t width = parameters_.dim / parameters_.parts;
  const float scale = parameters_.metric == Metric::kCosine ? inverse_norm(query, parameters_.dim) : 1.0F;
  for (std::size_t part = 0; part < parameters_.parts; ++part) {
    const float* centroid = parameters_.centroids.data() + part * kCentroids * width;
    for (std::uint32_t c = 0; c < kCentroids; ++c, centroid += width) {
      float squared = 0;
      float dot = 0;
      for (std::size_t j = 0; j < width; ++j) {
        const float q = query[part * width + j] * scale;
        squared += (q - centroid[j]) * (q - centroid[j]);
        dot += q * centroid[j];
      }
      table[part * kCentroids + c] = parameters_.metric == Metric::kIp       ? -dot
                                     : parameters_.metric == Metric::kCosine ? squared / 2
                                                                             : squared;
    }
  }
}

void PqCode::distances(const std::byte* state, const std::uint8_t* rows, const std::uint32_t* ids, std::uint32_t count,
                       float* out) const noexcept {
  const auto* table = reinterpret_cast<const float*>(state);
  const std::uint32_t parts = parameters_.parts;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint8_t* row = rows + std::size_t{ids == nullptr ? i : ids[i]} * parts;
    float sums[4] = {};  // four chains: table look-ups overlap
    std::uint32_t part = 0;
    for (; part + 4 <= parts; part += 4) {
      for (std::uint32_t j = 0; j < 4; ++j) sums[j] += table[(part + j) * kCentroids + row[part + j]];
    }
    for (; part < parts; ++part) sums[0] += table[part * kCentroids + row[part]];
    out[i] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }
}

void PqCode::block_distances(const std::byte* state, const std::uint8_t* rows, std::uint32_t count,
                             float* out) const noexcept {
  distances(state, rows, nullptr, count, out);
}

float PqCode::decode(const std::uint8_t* row, float* vector) const {
  const std::size_t width = parameters_.dim / parameters_.parts;
  for (std::size_t part = 0; part < parameters_.parts; ++part) {
    std::copy_n(parameters_.centroids.data() + (part * kCentroids + row[part]) * width, width, vector + part * width);
  }
  return 0;
}

}  // namespace tiervec::codes
