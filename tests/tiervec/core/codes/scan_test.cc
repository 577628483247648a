// Scans of blocks and what is kept of them, against plain loops, on every instruction set of this machine.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/core/codes/dot_code.h>
#include <tiervec/core/codes/nearest_hits.h>
#include <tiervec/core/codes/pq_code.h>
#include <tiervec/core/huge_buffer.h>

#include "tiervec/core/simd_levels.h"

namespace tiervec::codes {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> normal_numbers(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// Widths of fields, in turn: every one; no wide ones; those whose products fill an int16 soonest.
const std::vector<std::uint8_t> kEveryWidth{8, 6, 4, 2, 4, 2, 2};
const std::vector<std::uint8_t> kNarrow{4, 2, 2};
const std::vector<std::uint8_t> kSix{6};
const std::vector<std::uint8_t> kBits{1};

// With single bits, whole chunks of eight bytes.
std::uint32_t row_bytes_of(std::uint32_t code_bytes) {
  return std::max((code_bytes + 7) / 8 * 8, code_bytes + kFactorBytes);
}

// Rows of every length around the kernels' chunks.
DotCodeParameters some_code(std::uint32_t dim, Metric metric, const std::vector<std::uint8_t>& widths = kEveryWidth) {
  DotCodeParameters parameters;
  parameters.metric = metric;
  parameters.dim = dim;
  parameters.center = normal_numbers(dim, 1);
  for (std::uint32_t d = 0; d < dim; ++d) {
    parameters.widths.push_back(widths[d % widths.size()]);
    parameters.steps.push_back(6.0F / static_cast<float>(1U << parameters.widths.back()));
  }
  parameters.row_bytes = row_bytes_of(pack_fields(parameters.widths).code_bytes);
  for (float& step : parameters.steps) step /= std::sqrt(static_cast<float>(dim));
  return parameters;
}

struct Scanned {
  std::vector<float> distances;
  std::vector<std::uint32_t> rows;
};

/// Rows [first, end) of some blocks; origin_distance is that of the center unless it is given.
struct ScanRange {
  const std::uint8_t* blocks = nullptr;
  std::uint32_t first = 0;
  std::uint32_t end = 0;
  float origin_distance = kInfinity;
};

Scanned scan(const Code& code, const std::vector<float>& query, ScanRange range, float bound) {
  HugeBuffer state(code.query_bytes());
  code.make_query(query.data(), state.as<std::byte>());
  if (range.origin_distance == kInfinity) range.origin_distance = code.center_distance(state.as<std::byte>());
  std::vector<ScanBlock> list(range.end / kBlockRows + 2);
  const std::uint32_t count = list_blocks(range.first, range.end, range.origin_distance, list.data());
  Scanned found{std::vector<float>(range.end + kBlockRows), std::vector<std::uint32_t>(range.end + kBlockRows)};
  ScanHits hits{found.distances.data(), found.rows.data(), 0, bound};
  code.scan(state.as<std::byte>(), {range.blocks, list.data(), count, 0}, hits);
  found.distances.resize(hits.count);
  found.rows.resize(hits.count);
  return found;
}

std::vector<float> distances_of(const Code& code, const std::vector<float>& query,
                                const std::vector<std::uint8_t>& rows) {
  const auto count = static_cast<std::uint32_t>(rows.size() / code.row_bytes());
  HugeBuffer state(code.query_bytes());
  code.make_query(query.data(), state.as<std::byte>());
  std::vector<float> out(count + kBlockRows);
  code.block_distances(state.as<std::byte>(), rows.data(), count, out.data());
  out.resize(count);
  return out;
}

HugeBuffer blocks_of(const Code& code, std::vector<std::uint8_t> rows) {
  const std::size_t block_rows = std::size_t{kBlockRows} * code.row_bytes();
  rows.resize((rows.size() + block_rows - 1) / block_rows * block_rows);
  HugeBuffer blocks(rows.size() / block_rows * code.block_bytes());
  for (std::size_t i = 0; i * block_rows < rows.size(); ++i) {
    code.arrange_block(rows.data() + i * block_rows, blocks.as<std::uint8_t>() + i * code.block_bytes());
  }
  return blocks;
}

TEST(Scan, EstimatesAreThoseOfDistances) {
  constexpr std::uint32_t kRows = 131;
  for (const SimdLevel level : testing::simd_levels()) {
    for (const std::uint32_t dim : {1U, 3U, 7U, 30U, 64U, 128U, 300U, 1100U}) {
      for (const auto& [metric, widths] : {std::pair{Metric::kL2, kEveryWidth},
                                           {Metric::kIp, kEveryWidth},
                                           {Metric::kCosine, kEveryWidth},
                                           {Metric::kL2, kNarrow},
                                           {Metric::kL2, kBits},
                                           {Metric::kIp, kBits},
                                           {Metric::kL2, kSix}}) {
        const DotCode code(some_code(dim, metric, widths), level);
        const auto vectors = normal_numbers(std::size_t{kRows} * dim, 2);
        std::vector<std::uint8_t> rows(std::size_t{kRows} * code.row_bytes());
        code.encode(vectors.data(), kRows, rows.data());
        const HugeBuffer blocks = blocks_of(code, rows);
        const auto query = normal_numbers(dim, 3);
        const auto expected = distances_of(code, query, rows);
        for (const auto& [first, end] :
             {std::pair{0U, kRows}, {5U, 6U}, {15U, 17U}, {16U, 96U}, {3U, 130U}, {9U, 9U}}) {
          const Scanned found = scan(code, query, {blocks.as<std::uint8_t>(), first, end, kInfinity}, kInfinity);
          ASSERT_EQ(found.rows.size(), end - first);
          for (std::uint32_t i = 0; i < end - first; ++i) {
            ASSERT_EQ(found.rows[i], first + i);
            ASSERT_NEAR(found.distances[i], expected[first + i], 1e-4F * (1 + std::fabs(expected[first + i])));
          }
        }
      }
    }
  }
}

TEST(Scan, TheLargestSumsFit) {
  constexpr std::uint32_t kRows = 70;
  for (const SimdLevel level : testing::simd_levels()) {
    for (const auto& widths : {kEveryWidth, kNarrow, kSix, kBits, std::vector<std::uint8_t>{8}}) {
      for (const std::uint32_t dim : {1U, 16U, 100U, 384U}) {
        DotCodeParameters parameters = some_code(dim, Metric::kL2, widths);
        parameters.unbiased = false;
        const DotCode code(parameters, level);
        std::vector<float> vectors(std::size_t{kRows} * dim);
        std::vector<float> query(dim);
        for (std::uint32_t d = 0; d < dim; ++d) {
          query[d] = parameters.center[d] + 1 / parameters.steps[d];  // rounded to 127 in each dimension
          for (std::uint32_t i = 0; i < kRows; ++i) vectors[std::size_t{i} * dim + d] = 100;  // ends of all grids
        }
        std::vector<std::uint8_t> rows(std::size_t{kRows} * code.row_bytes());
        code.encode(vectors.data(), kRows, rows.data());
        const HugeBuffer blocks = blocks_of(code, rows);
        const auto expected = distances_of(DotCode(parameters, SimdLevel::kPortable), query, rows);
        const Scanned found = scan(code, query, {blocks.as<std::uint8_t>(), 0, kRows, kInfinity}, kInfinity);
        ASSERT_EQ(found.rows.size(), kRows);
        for (std::uint32_t i = 0; i < kRows; ++i) {
          ASSERT_NEAR(found.distances[i], expected[i], 1e-4F * (1 + std::fabs(expected[i])));
        }
      }
    }
  }
}

TEST(Scan, TakesWhatIsNearerThanTheBoundAndKeepsWhatWasThere) {
  constexpr std::uint32_t kRows = 100;
  for (const SimdLevel level : testing::simd_levels()) {
    const DotCode code(some_code(20, Metric::kL2), level);
    const auto vectors = normal_numbers(kRows * 20, 2);
    std::vector<std::uint8_t> rows(std::size_t{kRows} * code.row_bytes());
    code.encode(vectors.data(), kRows, rows.data());
    const HugeBuffer blocks = blocks_of(code, rows);
    const auto query = normal_numbers(20, 3);
    const Scanned all = scan(code, query, {blocks.as<std::uint8_t>(), 0, kRows, kInfinity}, kInfinity);
    auto sorted = all.distances;
    std::sort(sorted.begin(), sorted.end());
    const Scanned some = scan(code, query, {blocks.as<std::uint8_t>(), 0, kRows, kInfinity}, sorted[30]);
    std::vector<std::uint32_t> expected;
    for (std::uint32_t i = 0; i < kRows; ++i) {
      if (all.distances[i] < sorted[30]) expected.push_back(i);
    }
    EXPECT_EQ(some.rows, expected);
  }
}

// Blocks in any order, some twice, each relative to something else; what lies ahead is not looked at.
TEST(Scan, TakesAListOfBlocks) {
  constexpr std::uint32_t kBlocks = 9;
  constexpr std::uint32_t kRows = kBlocks * kBlockRows;
  for (const SimdLevel level : testing::simd_levels()) {
    const DotCode code(some_code(20, Metric::kL2), level);
    const auto vectors = normal_numbers(std::size_t{kRows} * 20, 2);
    std::vector<std::uint8_t> rows(std::size_t{kRows} * code.row_bytes());
    code.encode(vectors.data(), kRows, rows.data());
    const HugeBuffer blocks = blocks_of(code, rows);
    const auto query = normal_numbers(20, 3);
    HugeBuffer state(code.query_bytes());
    code.make_query(query.data(), state.as<std::byte>());
    const float center = code.center_distance(state.as<std::byte>());
    const auto expected = distances_of(code, query, rows);
    std::mt19937 random(6);
    for (const std::uint32_t count : {0U, 1U, 7U, 8U, 9U, 16U, 29U}) {
      for (const std::uint32_t ahead : {0U, 3U, 8U, 20U}) {
        std::vector<ScanBlock> list(count + ahead);
        for (ScanBlock& block : list) {
          block = {static_cast<std::uint32_t>(random() % kBlocks), static_cast<std::uint32_t>(random() & 0xffff),
                   center + static_cast<float>(random() % 100)};
        }
        Scanned found{std::vector<float>((count + 1) * kBlockRows),
                      std::vector<std::uint32_t>((count + 1) * kBlockRows)};
        ScanHits hits{found.distances.data(), found.rows.data(), 0, kInfinity};
        code.scan(state.as<std::byte>(), {blocks.as<std::uint8_t>(), list.data(), count, ahead}, hits);
        std::uint32_t at = 0;
        for (std::uint32_t i = 0; i < count; ++i) {
          for (std::uint32_t bit = 0; bit < kBlockRows; ++bit) {
            if ((list[i].rows >> bit & 1) == 0) continue;
            const std::uint32_t row = list[i].block * kBlockRows + bit;
            const float distance = expected[row] - center + list[i].origin_distance;
            ASSERT_LT(at, hits.count);
            ASSERT_EQ(found.rows[at], row);
            ASSERT_NEAR(found.distances[at++], distance, 1e-4F * (1 + std::fabs(distance)));
          }
        }
        ASSERT_EQ(hits.count, at);
      }
    }
  }
}

TEST(ListBlocks, CoversTheRowsAndNoOthers) {
  for (std::uint32_t first = 0; first < 40; ++first) {
    for (std::uint32_t end = first; end < 70; ++end) {
      ScanBlock list[6];
      const std::uint32_t count = list_blocks(first, end, 2.5F, list);
      std::vector<std::uint32_t> rows;
      for (std::uint32_t i = 0; i < count; ++i) {
        ASSERT_EQ(list[i].origin_distance, 2.5F);
        ASSERT_NE(list[i].rows, 0U);
        for (std::uint32_t bit = 0; bit < 32; ++bit) {
          if ((list[i].rows >> bit & 1) != 0) rows.push_back(list[i].block * kBlockRows + bit);
        }
      }
      std::vector<std::uint32_t> expected(end - first);
      for (std::uint32_t i = 0; i < expected.size(); ++i) expected[i] = first + i;
      ASSERT_EQ(rows, expected);
    }
  }
}

TEST(Scan, PqRowsAreScannedAsTheyAre) {
  PqCodeParameters parameters{Metric::kL2, 6, 3, normal_numbers(std::size_t{6} * 256, 4)};
  const PqCode code(parameters);
  EXPECT_FALSE(code.has_origins());
  const auto vectors = normal_numbers(50 * 6, 5);
  std::vector<std::uint8_t> rows(std::size_t{50} * 3);
  const std::vector<float> origin(6, 9.0F);
  code.encode_residuals(vectors.data(), origin.data(), 3, 50, rows.data());
  const auto query = normal_numbers(6, 6);
  const auto expected = distances_of(code, query, rows);
  const HugeBuffer blocks = blocks_of(code, rows);
  const Scanned found = scan(code, query, {blocks.as<std::uint8_t>(), 7, 49, 123}, kInfinity);
  EXPECT_EQ(found.distances, std::vector<float>(expected.begin() + 7, expected.begin() + 49));
}

// What a row stands for is as far from a query as the row's estimate says.
TEST(Decode, IsTheVectorThatARowStandsFor) {
  for (const bool unbiased : {true, false}) {
    for (const Metric metric : {Metric::kL2, Metric::kIp, Metric::kCosine}) {
      DotCodeParameters parameters = some_code(24, metric);
      parameters.widths.assign(24, 4);  // alike, so that rounding the query to eight bits hardly shows
      parameters.steps.assign(24, 0.4F);
      parameters.unbiased = unbiased;
      const DotCode code(parameters);
      const auto vectors = normal_numbers(40 * 24, 2);
      std::vector<std::uint8_t> rows(std::size_t{40} * code.row_bytes());
      code.encode(vectors.data(), 40, rows.data());
      auto query = normal_numbers(24, 3);
      const auto estimates = distances_of(code, query, rows);
      if (metric == Metric::kCosine) {
        float norm = 0;
        for (const float value : query) norm += value * value;
        for (float& value : query) value /= std::sqrt(norm);
      }
      for (std::size_t i = 0; i < 40; ++i) {
        std::vector<float> vector(24);
        float distance = code.decode(rows.data() + i * code.row_bytes(), vector.data());
        for (std::size_t d = 0; d < 24; ++d) {
          const float difference = query[d] - vector[d];
          distance += metric == Metric::kIp   ? -query[d] * vector[d]
                      : metric == Metric::kL2 ? difference * difference
                                              : difference * difference / 2;
        }
        EXPECT_NEAR(distance, estimates[i], 0.1F + 0.05F * std::fabs(distance));  // the query is rounded
      }
    }
  }
}

// Relative to an origin that is near, the same bits say more.
TEST(Residuals, EstimateBetterThanRowsRelativeToTheCenter) {
  constexpr std::size_t kDim = 32;
  constexpr std::size_t kRows = 64;
  for (const Metric metric : {Metric::kL2, Metric::kIp, Metric::kCosine}) {
    std::vector<float> origin = normal_numbers(kDim, 7);
    const auto noise = normal_numbers(kRows * kDim, 8);
    std::vector<float> vectors(noise.size());
    for (std::size_t i = 0; i < vectors.size(); ++i) vectors[i] = 4 * origin[i % kDim] + 0.3F * noise[i];
    float length = 0;
    for (const float value : origin) length += value * value;
    for (float& value : origin) value *= metric == Metric::kCosine ? 1 / std::sqrt(length) : 4;
    const auto query = normal_numbers(kDim, 9);
    const auto exact = [&](const float* vector) {
      float dot = 0;
      float squared = 0;
      float difference = 0;
      float query_squared = 0;
      for (std::size_t d = 0; d < kDim; ++d) {
        dot += query[d] * vector[d];
        squared += vector[d] * vector[d];
        query_squared += query[d] * query[d];
        difference += (query[d] - vector[d]) * (query[d] - vector[d]);
      }
      if (metric == Metric::kIp) return -dot;
      return metric == Metric::kL2 ? difference : 1 - dot / std::sqrt(squared * query_squared);
    };
    std::vector<float> unit = query;
    if (metric == Metric::kCosine) {
      float squared = 0;
      for (const float value : query) squared += value * value;
      for (float& value : unit) value /= std::sqrt(squared);
    }
    float to_origin = 0;
    for (std::size_t d = 0; d < kDim; ++d) {
      const float difference = unit[d] - origin[d];
      to_origin += metric == Metric::kIp   ? -unit[d] * origin[d]
                   : metric == Metric::kL2 ? difference * difference
                                           : difference * difference / 2;
    }
    const auto mean_error = [&](bool residual) {
      DotCodeParameters parameters;
      parameters.metric = metric;
      parameters.dim = kDim;
      parameters.center.assign(kDim, 0.0F);
      parameters.widths.assign(kDim, 2);
      parameters.steps.assign(kDim, 1 / std::sqrt(static_cast<float>(kDim)));
      parameters.row_bytes = kDim / 4 + kFactorBytes;
      const DotCode code(parameters);
      std::vector<std::uint8_t> rows(kRows * code.row_bytes());
      if (residual) {
        code.encode_residuals(vectors.data(), origin.data(), -2.5F, kRows, rows.data());
      } else {
        code.encode(vectors.data(), kRows, rows.data());
      }
      const HugeBuffer blocks = blocks_of(code, rows);
      const Scanned found =
          scan(code, query, {blocks.as<std::uint8_t>(), 0, kRows, residual ? to_origin + 2.5F : kInfinity}, kInfinity);
      double error = 0;
      for (std::size_t i = 0; i < kRows; ++i) {
        error +=
            std::fabs(static_cast<double>(found.distances[i]) - static_cast<double>(exact(vectors.data() + i * kDim)));
      }
      return error / kRows;
    };
    EXPECT_LT(mean_error(true), 0.5 * mean_error(false)) << static_cast<int>(metric);
  }
}

// Vectors much longer than the query, each near an origin as long: its inner product must not have their error.
TEST(Residuals, OfInnerProductsAreAsGoodFarFromTheOrigin) {
  constexpr std::size_t kDim = 32;
  constexpr std::size_t kRows = 64;
  const auto direction = normal_numbers(kDim, 17);
  const auto noise = normal_numbers(kRows * kDim, 18);
  const auto query = normal_numbers(kDim, 19);
  DotCodeParameters parameters;
  parameters.metric = Metric::kIp;
  parameters.dim = kDim;
  parameters.center.assign(kDim, 0.0F);
  parameters.widths.assign(kDim, 2);
  parameters.steps.assign(kDim, 1 / std::sqrt(static_cast<float>(kDim)));
  parameters.row_bytes = kDim / 4 + kFactorBytes;
  const DotCode code(parameters);
  const auto mean_error = [&](float length) {
    std::vector<float> origin(kDim);
    float to_origin = 0;
    for (std::size_t d = 0; d < kDim; ++d) {
      origin[d] = length * direction[d];
      to_origin -= query[d] * origin[d];
    }
    std::vector<float> vectors(noise.size());
    for (std::size_t i = 0; i < vectors.size(); ++i) vectors[i] = origin[i % kDim] + noise[i];
    std::vector<std::uint8_t> rows(kRows * code.row_bytes());
    code.encode_residuals(vectors.data(), origin.data(), 0, kRows, rows.data());
    const HugeBuffer blocks = blocks_of(code, rows);
    const Scanned found = scan(code, query, {blocks.as<std::uint8_t>(), 0, kRows, to_origin}, kInfinity);
    double error = 0;
    for (std::size_t i = 0; i < kRows; ++i) {
      double exact = 0;
      for (std::size_t d = 0; d < kDim; ++d) {
        exact -= static_cast<double>(query[d]) * static_cast<double>(vectors[i * kDim + d]);
      }
      error += std::fabs(static_cast<double>(found.distances[i]) - exact);
    }
    return error / kRows;
  };
  EXPECT_LT(mean_error(30), 1.2 * mean_error(1));
}

TEST(KeepNearest, KeepsThemAndLowersTheBound) {
  std::mt19937 random(5);
  for (const SimdLevel level : testing::simd_levels()) {
    for (const std::uint32_t count : {0U, 1U, 15U, 16U, 40U, 333U}) {
      for (const std::uint32_t most : {1U, 7U, 16U, 39U}) {
        for (const bool ties : {false, true}) {
          std::vector<float> distances(count + kBlockRows);
          std::vector<std::uint32_t> rows(count + kBlockRows);
          for (std::uint32_t i = 0; i < count; ++i) {
            distances[i] = ties ? static_cast<float>(random() % 5) - 2
                                : static_cast<float>(static_cast<std::int32_t>(random())) * 1e-3F;
            rows[i] = i;
          }
          const auto before = distances;
          auto sorted = distances;
          sorted.resize(count);
          std::sort(sorted.begin(), sorted.end());
          ScanHits hits{distances.data(), rows.data(), count, kInfinity};
          keep_nearest(hits, most, most, level);
          ASSERT_EQ(hits.count, std::min(count, most));
          std::vector<float> kept(distances.begin(), distances.begin() + hits.count);
          for (std::uint32_t i = 0; i < hits.count; ++i) {
            ASSERT_EQ(kept[i], before[rows[i]]);
            ASSERT_TRUE(i == 0 || rows[i - 1] < rows[i]);
          }
          std::sort(kept.begin(), kept.end());
          ASSERT_TRUE(std::equal(kept.begin(), kept.end(), sorted.begin()));
          if (count <= most) {
            ASSERT_EQ(hits.bound, kInfinity);
          } else {
            ASSERT_GE(hits.bound, kept.back());
            ASSERT_LE(hits.bound, sorted[most]);
          }
        }
      }
    }
  }
}

TEST(KeepNearest, ARangeOfCountsIsKept) {
  for (const SimdLevel level : testing::simd_levels()) {
    auto distances = normal_numbers(500 + kBlockRows, 6);
    auto sorted = std::vector<float>(distances.begin(), distances.begin() + 500);
    std::sort(sorted.begin(), sorted.end());
    std::vector<std::uint32_t> rows(distances.size());
    ScanHits hits{distances.data(), rows.data(), 500, kInfinity};
    keep_nearest(hits, 40, 60, level);
    EXPECT_GE(hits.count, 40U);
    EXPECT_LE(hits.count, 60U);
    EXPECT_EQ(*std::max_element(distances.begin(), distances.begin() + hits.count), sorted[hits.count - 1]);
  }
}

}  // namespace
}  // namespace tiervec::codes
