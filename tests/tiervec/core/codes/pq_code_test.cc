#include <tiervec/core/codes/pq_code.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/core/status.h>

namespace tiervec::codes {
namespace {

constexpr std::uint32_t kCentroids = PqCodeParameters::kCentroids;

std::vector<float> normal_numbers(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

PqCodeParameters some_parameters(Metric metric, std::uint32_t dim, std::uint32_t parts) {
  return {metric, dim, parts, normal_numbers(std::size_t{dim} * kCentroids, 1)};
}

std::vector<double> unit_if_cosine(const float* vector, std::uint32_t dim, Metric metric) {
  std::vector<double> x(vector, vector + dim);
  double norm = 0;
  for (const double value : x) norm += value * value;
  if (metric == Metric::kCosine && norm > 0) {
    for (double& value : x) value /= std::sqrt(norm);
  }
  return x;
}

std::vector<double> decode(const PqCodeParameters& p, const std::uint8_t* row) {
  const std::size_t width = p.dim / p.parts;
  std::vector<double> vector;
  for (std::size_t part = 0; part < p.parts; ++part) {
    for (std::size_t j = 0; j < width; ++j) {
      vector.push_back(static_cast<double>(p.centroids[(part * kCentroids + row[part]) * width + j]));
    }
  }
  return vector;
}

double distance(Metric metric, const std::vector<double>& a, const std::vector<double>& b) {
  double l2 = 0;
  double dot = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    l2 += (a[i] - b[i]) * (a[i] - b[i]);
    dot += a[i] * b[i];
  }
  return metric == Metric::kL2 ? l2 : metric == Metric::kIp ? -dot : l2 / 2;
}

TEST(PqCode, EachPartIsItsNearestCentroid) {
  for (const Metric metric : {Metric::kL2, Metric::kCosine}) {
    const PqCodeParameters parameters = some_parameters(metric, 12, 4);
    const PqCode code(parameters);
    const std::vector<float> vectors = normal_numbers(20 * 12, 2);
    std::vector<std::uint8_t> rows(20 * 4);
    code.encode(vectors.data(), 20, rows.data());
    for (std::size_t i = 0; i < 20; ++i) {
      const auto x = unit_if_cosine(&vectors[i * 12], 12, metric);
      const double chosen = distance(Metric::kL2, x, decode(parameters, &rows[i * 4]));
      for (std::size_t part = 0; part < 4; ++part) {
        std::vector<std::uint8_t> other(rows.begin() + static_cast<std::ptrdiff_t>(i * 4),
                                        rows.begin() + static_cast<std::ptrdiff_t>(i * 4 + 4));
        for (std::uint32_t c = 0; c < kCentroids; ++c) {
          other[part] = static_cast<std::uint8_t>(c);
          EXPECT_LE(chosen, distance(Metric::kL2, x, decode(parameters, other.data())) + 1e-5);
        }
      }
    }
  }
}

TEST(PqCode, DistancesAreThoseToTheDecodedVectors) {
  constexpr std::uint32_t kRows = 33;
  for (const Metric metric : {Metric::kL2, Metric::kIp, Metric::kCosine}) {
    for (const std::uint32_t parts : {1U, 2U, 3U, 6U, 9U, 18U}) {
      const PqCodeParameters parameters = some_parameters(metric, 18, parts);
      const PqCode code(parameters);
      std::mt19937 random(parts);
      std::vector<std::uint8_t> rows(std::size_t{kRows} * parts);
      for (auto& byte : rows) byte = static_cast<std::uint8_t>(random());
      const std::vector<float> query = normal_numbers(18, 3);
      std::vector<std::byte> state(code.query_bytes());
      code.make_query(query.data(), state.data());
      std::vector<float> block(48);
      code.block_distances(state.data(), rows.data(), kRows, block.data());
      const std::vector<std::uint32_t> ids = {32, 0, 7, 7, 31};
      std::vector<float> gathered(16);
      code.distances(state.data(), rows.data(), ids.data(), 5, gathered.data());
      const auto q = unit_if_cosine(query.data(), 18, metric);
      for (std::uint32_t i = 0; i < kRows; ++i) {
        const double right = distance(metric, q, decode(parameters, &rows[std::size_t{i} * parts]));
        EXPECT_NEAR(static_cast<double>(block[i]), right, 1e-4);
      }
      for (std::size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(gathered[i], block[ids[i]]);
    }
  }
}

TEST(PqCode, SizesAreTheOnesOfItsParts) {
  const PqCode code(some_parameters(Metric::kL2, 12, 6));
  EXPECT_EQ(code.row_bytes(), 6U);
  EXPECT_EQ(code.dim(), 12U);
  EXPECT_EQ(code.query_bytes(), 6U * 256 * 4);
  EXPECT_EQ(code.parameter_bytes(), 12U * 256 * 4);
}

TEST(PqCode, RefusesWhatDoesNotFitTogether) {
  for (PqCodeParameters wrong : {PqCodeParameters{Metric::kL2, 12, 5, normal_numbers(12 * 256, 1)},
                                 PqCodeParameters{Metric::kL2, 12, 4, normal_numbers(12 * 256 - 1, 1)},
                                 PqCodeParameters{Metric::kL2, 0, 4, {}}, PqCodeParameters{Metric::kL2, 12, 0, {}}}) {
    try {
      const PqCode code(std::move(wrong));
      FAIL() << "it should have thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    }
  }
}

}  // namespace
}  // namespace tiervec::codes
