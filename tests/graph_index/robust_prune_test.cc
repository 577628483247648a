#include "../../graph_index/src/robust_prune.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "graph_index/small_index.h"

namespace tiervec::graph_index {
namespace {

using testing::clustered;

constexpr std::uint32_t kCount = 200;
constexpr std::uint32_t kDim = 5;

class RobustPruneTest : public ::testing::TestWithParam<Metric> {
 protected:
  const std::vector<float> vectors_ = clustered(kCount, kDim, 3);
  const VectorSpace space_{vectors_.data(), kCount, kDim, Dtype::kFloat32, GetParam(), 1};
  RobustPrune prune_{space_};

  std::vector<Scored> pool_of(std::uint32_t vertex, std::size_t size, std::mt19937& random) const {
    std::vector<Scored> pool;
    for (std::size_t i = 0; i < size; ++i) {
      const auto id = static_cast<std::uint32_t>(random() % kCount);
      pool.push_back({space_.distance(vertex, id), id});
    }
    return pool;
  }
};

TEST_P(RobustPruneTest, ChoosesFromThePoolWithinTheDegreeNeverItselfNeverTwice) {
  std::mt19937 random(1);
  for (std::uint32_t vertex = 0; vertex < 50; ++vertex) {
    auto pool = pool_of(vertex, 1 + random() % 150, random);  // with duplicates, and often the vertex itself
    pool.push_back({0, vertex});
    std::set<std::uint32_t> offered;
    for (const Scored& scored : pool) offered.insert(scored.id);
    const auto chosen = prune_.choose(vertex, pool, 8, 1.2F);
    const std::set<std::uint32_t> distinct(chosen.begin(), chosen.end());
    EXPECT_LE(chosen.size(), 8U);
    EXPECT_EQ(distinct.size(), chosen.size());
    EXPECT_EQ(distinct.count(vertex), 0U);
    EXPECT_TRUE(std::includes(offered.begin(), offered.end(), distinct.begin(), distinct.end()));
  }
}

TEST_P(RobustPruneTest, TheNearestIsAlwaysChosen) {
  std::mt19937 random(2);
  for (std::uint32_t vertex = 0; vertex < 50; ++vertex) {
    auto pool = pool_of(vertex, 60, random);
    const auto chosen = prune_.choose(vertex, pool, 8, 1.2F);
    ASSERT_FALSE(chosen.empty());
    EXPECT_EQ(chosen[0], pool[0].id);
  }
}

TEST_P(RobustPruneTest, WhoeverIsLeftOutIsNearerToOneThatIsChosen) {
  std::mt19937 random(3);
  for (const float alpha : {1.0F, 1.2F, 2.0F}) {
    for (std::uint32_t vertex = 0; vertex < 50; ++vertex) {
      auto pool = pool_of(vertex, 60, random);
      const auto span = prune_.choose(vertex, pool, 1000, alpha);
      const std::vector<std::uint32_t> chosen(span.begin(), span.end());
      for (const Scored& candidate : pool) {
        if (std::find(chosen.begin(), chosen.end(), candidate.id) != chosen.end()) continue;
        EXPECT_TRUE(std::any_of(chosen.begin(), chosen.end(), [&](std::uint32_t other) {
          return alpha * space_.distance(other, candidate.id) <= candidate.distance;
        }));
      }
    }
  }
}

TEST_P(RobustPruneTest, TheStrictChoiceIsTheTextbooks) {
  std::mt19937 random(4);
  for (std::uint32_t vertex = 0; vertex < 50; ++vertex) {
    auto pool = pool_of(vertex, 60, random);
    const auto span = prune_.choose(vertex, pool, 6, 1.0F);
    const std::vector<std::uint32_t> chosen(span.begin(), span.end());
    std::vector<std::uint32_t> expected;  // DiskANN, algorithm 2: take the nearest, drop whom it occludes
    std::vector<Scored> left = pool;
    while (!left.empty() && expected.size() < 6) {
      const std::uint32_t nearest = left.front().id;
      expected.push_back(nearest);
      std::erase_if(left,
                    [&](const Scored& s) { return s.id == nearest || space_.distance(nearest, s.id) <= s.distance; });
    }
    EXPECT_EQ(chosen, expected);
  }
}

TEST_P(RobustPruneTest, EqualVectorsHideNobodyElse) {
  // Every vector three times: v, v + 66, v + 132.
  std::vector<float> vectors = vectors_;
  for (std::uint32_t i = 66; i < 198; ++i)
    std::copy_n(&vectors[std::size_t{i % 66} * kDim], kDim, &vectors[std::size_t{i} * kDim]);
  const VectorSpace space(vectors.data(), kCount, kDim, Dtype::kFloat32, GetParam(), 1);
  RobustPrune prune(space);
  for (std::uint32_t vertex = 0; vertex < 66; ++vertex) {
    std::vector<Scored> pool;
    for (std::uint32_t id = 0; id < 198; ++id) pool.push_back({space.distance(vertex, id), id});
    const auto chosen = prune.choose(vertex, pool, 16, 1.0F);
    const auto is_twin = [&](std::uint32_t id) { return id % 66 == vertex; };
    const auto twins = std::count_if(chosen.begin(), chosen.end(), is_twin);
    EXPECT_GE(twins, 1);
    EXPECT_GE(static_cast<std::ptrdiff_t>(chosen.size()) - twins, 1) << vertex;
  }
}

TEST_P(RobustPruneTest, AnEmptyPoolGivesNothing) {
  std::vector<Scored> pool;
  EXPECT_TRUE(prune_.choose(0, pool, 8, 1.2F).empty());
  pool = {{0, 0}};
  EXPECT_TRUE(prune_.choose(0, pool, 8, 1.2F).empty());
}

TEST(RobustPrune, ByInnerProductOfEqualNormsItChoosesAsByAngle) {
  auto vectors = clustered(kCount, kDim, 5);
  for (std::uint32_t i = 0; i < kCount; ++i) {
    float* x = &vectors[std::size_t{i} * kDim];
    float squared = 0;
    for (std::uint32_t j = 0; j < kDim; ++j) squared += x[j] * x[j];
    for (std::uint32_t j = 0; j < kDim; ++j) x[j] *= 3 / std::sqrt(squared);
  }
  const VectorSpace ip(vectors.data(), kCount, kDim, Dtype::kFloat32, Metric::kIp, 1);
  const VectorSpace cosine(vectors.data(), kCount, kDim, Dtype::kFloat32, Metric::kCosine, 1);
  RobustPrune prune_ip(ip), prune_cosine(cosine);
  for (std::uint32_t vertex = 0; vertex < 50; ++vertex) {
    std::vector<Scored> pool_ip, pool_cosine;
    for (std::uint32_t id = 0; id < kCount; ++id) {
      pool_ip.push_back({ip.distance(vertex, id), id});
      pool_cosine.push_back({cosine.distance(vertex, id), id});
    }
    const auto a = prune_ip.choose(vertex, pool_ip, 8, 1.2F);
    const auto b = prune_cosine.choose(vertex, pool_cosine, 8, 1.2F);
    EXPECT_EQ(std::vector<std::uint32_t>(a.begin(), a.end()), std::vector<std::uint32_t>(b.begin(), b.end()));
  }
}

TEST(RobustPrune, ByInnerProductOfUnequalNormsItFillsUpWithOtherDirections) {
  // One vector is so long that the strict rule leaves out everybody else.
  auto vectors = clustered(kCount, kDim, 6);
  for (std::uint32_t j = 0; j < kDim; ++j) vectors[j] = 1000;
  for (float& value : vectors) value = std::fabs(value) + 0.1F;
  const VectorSpace space(vectors.data(), kCount, kDim, Dtype::kFloat32, Metric::kIp, 1);
  RobustPrune prune(space);
  std::vector<Scored> strict, relaxed;
  for (std::uint32_t id = 0; id < kCount; ++id) strict.push_back({space.distance(7, id), id});
  relaxed = strict;
  const auto few = prune.choose(7, strict, 8, 1.0F);
  EXPECT_EQ(std::vector<std::uint32_t>(few.begin(), few.end()), std::vector<std::uint32_t>{0});
  const auto more = prune.choose(7, relaxed, 8, 1.2F);
  EXPECT_EQ(more[0], 0U);
  EXPECT_GT(more.size(), 1U);
}

INSTANTIATE_TEST_SUITE_P(Metrics, RobustPruneTest, ::testing::Values(Metric::kL2, Metric::kIp, Metric::kCosine),
                         [](const auto& suite) {
                           return suite.param == Metric::kL2 ? "l2" : suite.param == Metric::kIp ? "ip" : "cosine";
                         });

}  // namespace
}  // namespace tiervec::graph_index
