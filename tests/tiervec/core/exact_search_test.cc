#include <tiervec/core/exact_search.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace tiervec {
namespace {

constexpr std::uint32_t kDim = 5;

struct Found {
  std::vector<std::int64_t> ids;
  std::vector<float> distances;
};

/// Small whole numbers: every distance is exact in float32, and there are many ties.
std::vector<float> whole_numbers(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count * kDim);
  for (float& value : values) value = static_cast<float>(static_cast<int>(random() % 7) - 3);
  return values;
}

Found search(const std::vector<float>& data, const std::vector<float>& queries, Metric metric, std::uint32_t k,
             unsigned threads = 1, const std::int64_t* exclude = nullptr, WorkMonitor* monitor = nullptr) {
  ExactSearchRequest request;
  request.data = reinterpret_cast<const std::byte*>(data.data());
  request.count = static_cast<std::uint32_t>(data.size() / kDim);
  request.dim = kDim;
  request.metric = metric;
  request.queries = reinterpret_cast<const std::byte*>(queries.data());
  request.query_count = static_cast<std::uint32_t>(queries.size() / kDim);
  request.k = k;
  request.exclude = exclude;
  Found found{std::vector<std::int64_t>(request.query_count * std::size_t{k}),
              std::vector<float>(request.query_count * std::size_t{k})};
  request.ids = found.ids.data();
  request.distances = found.distances.data();
  exact_search(request, threads, monitor);
  return found;
}

double distance(Metric metric, const float* a, const float* b) {
  double l2 = 0;
  double dot = 0;
  double aa = 0;
  double bb = 0;
  for (std::uint32_t i = 0; i < kDim; ++i) {
    const double x = static_cast<double>(a[i]);
    const double y = static_cast<double>(b[i]);
    l2 += (x - y) * (x - y);
    dot += x * y;
    aa += x * x;
    bb += y * y;
  }
  if (metric == Metric::kL2) return l2;
  if (metric == Metric::kIp) return -dot;
  return aa > 0 && bb > 0 ? 1 - dot / std::sqrt(aa * bb) : 1;
}

TEST(ExactSearch, FindsWhatSortingEverythingFinds) {
  const auto data = whole_numbers(257, 1);
  const auto queries = whole_numbers(19, 2);
  for (const Metric metric : {Metric::kL2, Metric::kIp}) {  // cosine's ties depend on rounding
    for (const std::uint32_t k : {1U, 10U, 257U}) {
      const Found found = search(data, queries, metric, k, 3);
      for (std::size_t q = 0; q < 19; ++q) {
        std::vector<std::pair<double, std::int64_t>> all;
        for (std::int64_t row = 0; row < 257; ++row) {
          all.emplace_back(distance(metric, &queries[q * kDim], &data[static_cast<std::size_t>(row) * kDim]), row);
        }
        std::sort(all.begin(), all.end());
        for (std::size_t i = 0; i < k; ++i) {
          ASSERT_EQ(found.ids[q * k + i], all[i].second) << "query " << q << ", place " << i;
          ASSERT_EQ(static_cast<double>(found.distances[q * k + i]), all[i].first);
        }
      }
    }
  }
}

TEST(ExactSearch, CosineIsTheAngleAndAZeroVectorIsAtRightAnglesToAll) {
  auto data = whole_numbers(100, 3);
  std::fill_n(data.begin() + 7 * kDim, kDim, 0.0F);
  const auto queries = whole_numbers(5, 4);
  const Found found = search(data, queries, Metric::kCosine, 100);
  for (std::size_t q = 0; q < 5; ++q) {
    float before = -1;
    for (std::size_t i = 0; i < 100; ++i) {
      const auto row = static_cast<std::size_t>(found.ids[q * 100 + i]);
      const double right = distance(Metric::kCosine, &queries[q * kDim], &data[row * kDim]);
      EXPECT_NEAR(static_cast<double>(found.distances[q * 100 + i]), right, 1e-6);
      EXPECT_GE(found.distances[q * 100 + i], before);
      before = found.distances[q * 100 + i];
    }
  }
}

TEST(ExactSearch, PadsBeyondWhatThereIs) {
  const auto data = whole_numbers(3, 5);
  const Found found = search(data, whole_numbers(1, 6), Metric::kL2, 5);
  EXPECT_EQ(found.ids[3], -1);
  EXPECT_EQ(found.ids[4], -1);
  EXPECT_EQ(found.distances[4], std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isfinite(found.distances[2]));
}

TEST(ExactSearch, LeavesOutTheExcludedRowOfEachQuery) {
  const auto data = whole_numbers(40, 7);
  const std::vector<std::int64_t> exclude = {0, 39, -1, 5};
  const std::vector<float> queries(data.begin(), data.begin() + 4 * kDim);
  const Found found = search(data, queries, Metric::kL2, 40, 2, exclude.data());
  for (std::size_t q = 0; q < exclude.size(); ++q) {
    const auto begin = found.ids.begin() + static_cast<std::ptrdiff_t>(q * 40);
    EXPECT_EQ(std::count(begin, begin + 40, -1), exclude[q] < 0 ? 0 : 1);
    if (exclude[q] >= 0) {
      EXPECT_EQ(std::count(begin, begin + 40, exclude[q]), 0);
    }
  }
}

TEST(ExactSearch, ThreadsDoNotChangeTheResult) {
  const auto data = whole_numbers(500, 8);
  const auto queries = whole_numbers(50, 9);
  const Found one = search(data, queries, Metric::kIp, 10, 1);
  const Found four = search(data, queries, Metric::kIp, 10, 4);
  EXPECT_EQ(one.ids, four.ids);
  EXPECT_EQ(one.distances, four.distances);
}

TEST(ExactSearch, CanBeCancelled) {
  WorkMonitor monitor;
  monitor.cancelled = true;
  EXPECT_THROW(search(whole_numbers(10, 1), whole_numbers(10, 2), Metric::kL2, 1, 2, nullptr, &monitor), Error);
}

}  // namespace
}  // namespace tiervec
