#pragma once

// Product quantisation (Jegou et al., TPAMI 2011): a vector is cut into parts, each replaced by the nearest of 256
// trained centroids. The distance to a row is a sum of table entries that the query fills once (asymmetric distance).

#include <cstdint>
#include <vector>

#include <tiervec/core/codes/code.h>

namespace tiervec::codes {

struct PqCodeParameters {
  static constexpr std::uint32_t kCentroids = 256;
  Metric metric = Metric::kL2;
  std::uint32_t dim = 0;
  std::uint32_t parts = 0;       // divides dim; one byte of row each
  std::vector<float> centroids;  // parts x 256 x (dim / parts)
};

class PqCode final : public Code {
 public:
  /// Throws Error(kInvalidArgument) when sizes do not fit together.
  explicit PqCode(PqCodeParameters parameters);

  [[nodiscard]] std::uint32_t dim() const noexcept override { return parameters_.dim; }
  [[nodiscard]] std::uint32_t row_bytes() const noexcept override { return parameters_.parts; }
  [[nodiscard]] std::size_t query_bytes() const noexcept override;
  [[nodiscard]] std::size_t parameter_bytes() const noexcept override;
  void encode(const float* vectors, std::size_t count, std::uint8_t* rows) const override;
  void make_query(const float* query, std::byte* state) const noexcept override;
  void distances(const std::byte* state, const std::uint8_t* rows, const std::uint32_t* ids, std::uint32_t count,
                 float* out) const noexcept override;
  void block_distances(const std::byte* state, const std::uint8_t* rows, std::uint32_t count,
                       float* out) const noexcept override;
  float decode(const std::uint8_t* row, float* vector) const override;

 private:
  PqCodeParameters parameters_;
};

}  // namespace tiervec::codes
