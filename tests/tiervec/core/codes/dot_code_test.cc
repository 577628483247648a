#include <tiervec/core/codes/dot_code.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/core/huge_buffer.h>
#include <tiervec/core/status.h>

#include "tiervec/core/simd_levels.h"

namespace tiervec::codes {
namespace {

constexpr std::uint32_t kDim = 21;

std::vector<float> normal_numbers(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

/// A random orthogonal matrix by Gram and Schmidt.
std::vector<float> random_rotation(std::uint32_t dim, unsigned seed) {
  std::vector<float> rows = normal_numbers(std::size_t{dim} * dim, seed);
  for (std::uint32_t i = 0; i < dim; ++i) {
    float* row = &rows[std::size_t{i} * dim];
    for (std::uint32_t j = 0; j < i; ++j) {
      const float* other = &rows[std::size_t{j} * dim];
      float dot = 0;
      for (std::uint32_t c = 0; c < dim; ++c) dot += row[c] * other[c];
      for (std::uint32_t c = 0; c < dim; ++c) row[c] -= dot * other[c];
    }
    float norm = 0;
    for (std::uint32_t c = 0; c < dim; ++c) norm += row[c] * row[c];
    for (std::uint32_t c = 0; c < dim; ++c) row[c] /= std::sqrt(norm);
  }
  return rows;
}

std::vector<float> stored_rows(const std::vector<float>& rotation, const std::vector<std::uint8_t>& widths) {
  std::vector<float> rows;
  for (std::size_t d = 0; d < widths.size(); ++d) {
    const auto row = rotation.begin() + static_cast<std::ptrdiff_t>(d * widths.size());
    if (widths[d] > 0) rows.insert(rows.end(), row, row + static_cast<std::ptrdiff_t>(widths.size()));
  }
  return rows;
}

enum class Rotation { kNone, kDense, kFast };

DotCodeParameters some_parameters(Metric metric, Rotation rotation, bool unbiased, bool bits = false) {
  DotCodeParameters parameters;
  parameters.metric = metric;
  parameters.dim = kDim;
  parameters.row_bytes = 20;
  parameters.center = normal_numbers(kDim, 11);
  for (float& value : parameters.center) value *= 0.1F;
  for (std::uint32_t d = 0; d < kDim; ++d) {
    static constexpr std::uint8_t kWidths[] = {8, 6, 4, 2, 4, 6, 0};
    const std::uint8_t width = bits ? static_cast<std::uint8_t>(d % 7 != 3) : kWidths[d % 7];
    parameters.widths.push_back(width);
    parameters.steps.push_back(width == 0 ? 0.0F : 5.0F / static_cast<float>(1U << width));
  }
  parameters.unbiased = unbiased;
  if (rotation == Rotation::kDense) parameters.rotation = stored_rows(random_rotation(kDim, 12), parameters.widths);
  if (rotation == Rotation::kFast) parameters.fast_rotation = 12;
  // The grid of an unbiased code is for directions.
  for (float& step : parameters.steps) step /= unbiased ? std::sqrt(static_cast<float>(kDim)) : 1.0F;
  return parameters;
}

std::vector<double> centered(const DotCodeParameters& p, const float* vector) {
  std::vector<double> x(vector, vector + p.dim);
  if (p.metric == Metric::kCosine) {
    double norm = 0;
    for (const double value : x) norm += value * value;
    for (double& value : x) value /= norm > 0 ? std::sqrt(norm) : 1.0;
  }
  for (std::uint32_t d = 0; d < p.dim; ++d) x[d] -= static_cast<double>(p.center[d]);
  return x;
}

/// Dimensions without bits may be anything.
std::vector<double> rotated(const DotCodeParameters& p, const std::vector<double>& x) {
  if (p.fast_rotation) {
    std::vector<float> turned(x.begin(), x.end());
    FastRotation(p.dim, *p.fast_rotation).apply(turned.data());
    return {turned.begin(), turned.end()};
  }
  if (p.rotation.empty()) return x;
  std::vector<double> turned(p.dim);
  std::size_t row = 0;
  for (std::uint32_t d = 0; d < p.dim; ++d) {
    if (p.widths[d] == 0) continue;
    for (std::uint32_t i = 0; i < p.dim; ++i) turned[d] += static_cast<double>(p.rotation[row * p.dim + i]) * x[i];
    ++row;
  }
  return turned;
}

struct Estimate {
  double distance = 0;
  double tolerance = 0;  // rounding of the query to int8 and of the factors to half precision
};

/// The formulas of dot_code.h, word by word.
Estimate estimate(const DotCodeParameters& p, const float* query, const float* vector) {
  const std::vector<double> centered_query = centered(p, query);
  const std::vector<double> centered_vector = centered(p, vector);
  const std::vector<double> q = rotated(p, centered_query);
  const std::vector<double> x = rotated(p, centered_vector);
  double query_squared = 0;
  double squared = 0;
  double grid_squared = 0;
  double agreement = 0;
  double inner = 0;
  double largest = 0;
  double grid_units = 0;
  for (const double value : centered_vector) squared += value * value;
  for (const double value : centered_query) query_squared += value * value;
  const double scale = p.unbiased ? 1 / std::sqrt(squared) : 1;
  for (std::uint32_t d = 0; d < p.dim; ++d) {
    if (p.widths[d] == 0) continue;
    const double step = static_cast<double>(p.steps[d]);
    const double levels = static_cast<double>(1U << p.widths[d]);
    const double u = std::clamp(std::floor(x[d] * scale / step + levels / 2), 0.0, levels - 1);
    const double grid = (u + 0.5 - levels / 2) * step;
    grid_squared += grid * grid;
    agreement += x[d] * grid;
    inner += q[d] * grid;
    largest = std::max(largest, std::fabs(q[d] * step));
    grid_units += std::fabs(u + 0.5 - levels / 2);
  }
  double addend = p.unbiased ? squared : grid_squared;
  const bool correctable = agreement >= 0.25 * std::sqrt(squared * grid_squared);
  double factor = !p.unbiased ? 1 : correctable ? squared / agreement : agreement / grid_squared;
  Estimate found;
  if (p.metric == Metric::kL2) {
    factor *= 2;
    found.distance = query_squared + addend - factor * inner;
  } else if (p.metric == Metric::kCosine) {
    addend /= 2;
    found.distance = query_squared / 2 + addend - factor * inner;
  } else {
    addend = 0;
    found.distance = -factor * inner;
    for (std::uint32_t d = 0; d < p.dim; ++d) {
      const double center = static_cast<double>(p.center[d]);
      addend -= center * (static_cast<double>(vector[d]) - center);
      found.distance -= static_cast<double>(query[d]) * center;
    }
    found.distance += addend;
  }
  found.tolerance =
      factor * grid_units * (largest / 127) / 2 + 1e-3 * (std::fabs(addend) + factor * std::fabs(inner)) + 1e-5;
  return found;
}

std::vector<float> distances_of(const DotCode& code, const float* query, const std::vector<std::uint8_t>& rows,
                                std::uint32_t count) {
  HugeBuffer state(code.query_bytes());
  code.make_query(query, state.as<std::byte>());
  std::vector<float> out((count + 15) / 16 * 16);
  code.block_distances(state.as<std::byte>(), rows.data(), count, out.data());
  return out;
}

class DotCodeTest : public ::testing::TestWithParam<SimdLevel> {};

TEST_P(DotCodeTest, EstimatesAreTheOnesOfTheFormulas) {
  constexpr std::uint32_t kVectors = 40;
  const std::vector<float> vectors = normal_numbers(kVectors * kDim, 1);
  const std::vector<float> queries = normal_numbers(5 * kDim, 2);
  for (const Metric metric : {Metric::kL2, Metric::kIp, Metric::kCosine}) {
    for (const Rotation rotation : {Rotation::kNone, Rotation::kDense, Rotation::kFast}) {
      for (const auto& [unbiased, bits] : {std::pair{false, false}, {true, false}, {true, true}}) {
        const DotCodeParameters parameters = some_parameters(metric, rotation, unbiased, bits);
        const DotCode code(parameters, GetParam());
        std::vector<std::uint8_t> rows(std::size_t{kVectors} * code.row_bytes());
        code.encode(vectors.data(), kVectors, rows.data());
        for (std::size_t q = 0; q < 5; ++q) {
          const auto found = distances_of(code, &queries[q * kDim], rows, kVectors);
          for (std::size_t i = 0; i < kVectors; ++i) {
            const Estimate right = estimate(parameters, &queries[q * kDim], &vectors[i * kDim]);
            ASSERT_NEAR(static_cast<double>(found[i]), right.distance, right.tolerance)
                << "metric " << static_cast<int>(metric) << ", rotation " << static_cast<int>(rotation)
                << (unbiased ? " unbiased" : "") << (bits ? " bits" : "");
          }
        }
      }
    }
  }
}

TEST_P(DotCodeTest, WithManyBitsTheEstimateIsTheDistance) {
  constexpr std::uint32_t kVectors = 30;
  std::vector<float> vectors = normal_numbers(kVectors * kDim, 5);
  std::vector<float> queries = normal_numbers(4 * kDim, 6);
  for (const Metric metric : {Metric::kL2, Metric::kIp, Metric::kCosine}) {
    for (const bool unbiased : {false, true}) {
      DotCodeParameters parameters = some_parameters(metric, Rotation::kNone, unbiased);
      parameters.rotation = random_rotation(kDim, 12);
      parameters.row_bytes = kDim + kFactorBytes;
      std::fill(parameters.widths.begin(), parameters.widths.end(), std::uint8_t{8});
      // Far from the origin, where a centre matters; of unit length the spread is smaller.
      const float shift = metric == Metric::kCosine ? 0.0F : 4.0F;
      std::fill(parameters.center.begin(), parameters.center.end(), shift);
      std::fill(parameters.steps.begin(), parameters.steps.end(),
                (metric == Metric::kCosine || unbiased ? 2.0F : 10.0F) / 256);
      const auto moved = [&](std::vector<float> values) {
        for (float& value : values) value += shift;
        return values;
      };
      const std::vector<float> x = moved(vectors);
      const std::vector<float> q = moved(queries);
      const DotCode code(parameters, GetParam());
      std::vector<std::uint8_t> rows(std::size_t{kVectors} * code.row_bytes());
      code.encode(x.data(), kVectors, rows.data());
      for (std::size_t i = 0; i < 4; ++i) {
        const auto found = distances_of(code, &q[i * kDim], rows, kVectors);
        for (std::size_t j = 0; j < kVectors; ++j) {
          double l2 = 0;
          double dot = 0;
          double norms[2] = {0, 0};
          for (std::size_t d = 0; d < kDim; ++d) {
            const double a = static_cast<double>(q[i * kDim + d]);
            const double b = static_cast<double>(x[j * kDim + d]);
            l2 += (a - b) * (a - b);
            dot += a * b;
            norms[0] += a * a;
            norms[1] += b * b;
          }
          const double exact = metric == Metric::kL2   ? l2
                               : metric == Metric::kIp ? -dot
                                                       : 1 - dot / std::sqrt(norms[0] * norms[1]);
          const double tolerance = metric == Metric::kCosine ? 0.03 : 1.0;  // of distances around 1 and around 40
          ASSERT_NEAR(static_cast<double>(found[j]), exact, tolerance) << static_cast<int>(metric);
        }
      }
    }
  }
}

TEST_P(DotCodeTest, EncodesTheSameBytesAtEveryLevel) {
  // Without a rotation no sum is reordered: an index built on one machine has the codes of another.
  const std::vector<float> vectors = normal_numbers(50 * kDim, 3);
  const DotCode portable(some_parameters(Metric::kL2, Rotation::kNone, false), SimdLevel::kPortable);
  const DotCode code(some_parameters(Metric::kL2, Rotation::kNone, false), GetParam());
  std::vector<std::uint8_t> expected(50 * std::size_t{code.row_bytes()});
  std::vector<std::uint8_t> rows(expected.size(), 0xee);
  portable.encode(vectors.data(), 50, expected.data());
  code.encode(vectors.data(), 50, rows.data());
  EXPECT_EQ(rows, expected);
}

TEST_P(DotCodeTest, ExtremesGiveFiniteDistances) {
  std::vector<float> vectors(4 * kDim, 0.0F);        // zero
  std::fill_n(vectors.begin() + kDim, kDim, 1e15F);  // far outside of the grid
  const auto center = some_parameters(Metric::kL2, Rotation::kNone, true).center;
  std::copy(center.begin(), center.end(), vectors.begin() + 2 * kDim);  // the centre itself
  std::fill_n(vectors.begin() + 3 * kDim, kDim, 1e-20F);
  for (const Metric metric : {Metric::kL2, Metric::kIp, Metric::kCosine}) {
    const DotCode code(some_parameters(metric, Rotation::kDense, true), GetParam());
    std::vector<std::uint8_t> rows(4 * std::size_t{code.row_bytes()});
    code.encode(vectors.data(), 4, rows.data());
    for (std::size_t q = 0; q < 4; ++q) {
      const auto found = distances_of(code, &vectors[q * kDim], rows, 4);
      for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_TRUE(std::isfinite(found[i])) << "metric " << static_cast<int>(metric) << ", " << q << " to " << i;
      }
    }
  }
}

TIERVEC_ON_EVERY_SIMD_LEVEL(DotCodeTest);

std::string refusal(const std::function<void(DotCodeParameters&)>& change) {
  DotCodeParameters parameters = some_parameters(Metric::kL2, Rotation::kDense, true);
  change(parameters);
  try {
    const DotCode code(parameters);
    return "";
  } catch (const Error& error) {
    return error.code() == ErrorCode::kInvalidArgument ? error.what() : "another code";
  }
}

TEST(DotCodeParameters, WhatDoesNotFitTogetherIsRefused) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(refusal([](auto&) {}), "");
  EXPECT_NE(refusal([](auto& p) { p.dim = 0; }), "");
  EXPECT_NE(refusal([](auto& p) { p.center.pop_back(); }), "");
  EXPECT_NE(refusal([](auto& p) { p.steps.push_back(1); }), "");
  EXPECT_NE(refusal([](auto& p) { p.widths.pop_back(); }), "");
  EXPECT_NE(refusal([](auto& p) { p.widths[3] = 7; }), "");
  EXPECT_NE(refusal([](auto& p) { p.rotation.pop_back(); }), "");
  EXPECT_NE(refusal([](auto& p) { p.fast_rotation = 1; }), "");
  EXPECT_NE(refusal([](auto& p) { p.widths[3] = 1; }), "");
  EXPECT_NE(refusal([](auto& p) { p.row_bytes = 15; }), "");
  EXPECT_NE(refusal([](auto& p) { p.row_bytes = 0; }), "");
  EXPECT_NE(refusal([](auto& p) { p.row_bytes = 1U << 30U; }), "");
  EXPECT_NE(refusal([](auto& p) { std::fill(p.widths.begin(), p.widths.end(), std::uint8_t{0}); }), "");
  EXPECT_NE(refusal([](auto& p) { p.center[1] = kNan; }), "");
  EXPECT_NE(refusal([](auto& p) { p.steps[1] = kInfinity; }), "");
  EXPECT_NE(refusal([](auto& p) { p.steps[1] = -1; }), "");
  EXPECT_NE(refusal([](auto& p) { p.rotation[1] = kNan; }), "");
}

}  // namespace
}  // namespace tiervec::codes
