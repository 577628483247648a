#include <tiervec/graph_index/vamana.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include <tiervec/graph_index/navigation_sample.h>
#include <tiervec/rdma/dram_tier.h>

#include "graph_index/small_index.h"

namespace tiervec::graph_index {
namespace {

using testing::clustered;
using testing::exact;
using testing::Found;
using testing::recall;
using testing::search;
using testing::SmallIndex;
using testing::SmallIndexOptions;

VamanaParameters parameters_of(std::uint32_t degree, unsigned threads, std::uint64_t seed = 1) {
  VamanaParameters parameters;
  parameters.graph_degree = degree;
  parameters.build_list = 2 * degree;
  parameters.threads = threads;
  parameters.seed = seed;
  return parameters;
}

std::unique_ptr<Graph> build(const std::vector<float>& vectors, std::uint32_t dim, const VamanaParameters& parameters,
                             Metric metric = Metric::kL2, WorkMonitor* monitor = nullptr) {
  const VectorSpace space(vectors.data(), static_cast<std::uint32_t>(vectors.size() / dim), dim, Dtype::kFloat32,
                          metric, parameters.threads);
  return build_vamana(space, parameters, {}, monitor);
}

std::vector<std::uint32_t> neighbors_of(const Graph& graph, std::uint32_t vertex) {
  return {graph.neighbors(vertex), graph.neighbors(vertex) + graph.degree(vertex)};
}

/// What is wrong with the lists of a graph, or "".
std::string list_error(const Graph& graph, std::uint32_t degree) {
  for (std::uint32_t v = 0; v < graph.count(); ++v) {
    const auto neighbors = neighbors_of(graph, v);
    const std::set<std::uint32_t> distinct(neighbors.begin(), neighbors.end());
    if (neighbors.size() > degree)
      return std::to_string(v) + " has " + std::to_string(neighbors.size()) + " neighbours";
    if (distinct.size() != neighbors.size()) return std::to_string(v) + " has a neighbour twice";
    if (distinct.count(v) > 0) return std::to_string(v) + " is its own neighbour";
    if (!distinct.empty() && *distinct.rbegin() >= graph.count()) return std::to_string(v) + " points outside";
  }
  return graph.entry() < graph.count() ? "" : "the entry is outside";
}

std::size_t reachable(const Graph& graph) {
  std::set<std::uint32_t> seen = {graph.entry()};
  std::vector<std::uint32_t> open = {graph.entry()};
  while (!open.empty()) {
    const std::uint32_t vertex = open.back();
    open.pop_back();
    for (const std::uint32_t next : neighbors_of(graph, vertex)) {
      if (seen.insert(next).second) open.push_back(next);
    }
  }
  return seen.size();
}

TEST(Vamana, ListsAreWithinTheDegreeWithoutDuplicatesAndLoops) {
  const auto vectors = clustered(700, 8, 1);
  for (const Metric metric : {Metric::kL2, Metric::kIp, Metric::kCosine}) {
    for (const std::uint32_t degree : {2U, 5U, 24U}) {
      for (const unsigned threads : {1U, 3U}) {
        EXPECT_EQ(list_error(*build(vectors, 8, parameters_of(degree, threads), metric), degree), "");
      }
    }
  }
}

TEST(Vamana, EveryVectorCanBeReached) {
  const auto vectors = clustered(2000, 8, 2);
  for (const std::uint32_t degree : {2U, 3U, 8U, 16U}) {
    for (const unsigned threads : {1U, 4U}) {
      for (const Metric metric : {Metric::kL2, Metric::kIp}) {
        const auto graph = build(vectors, 8, parameters_of(degree, threads), metric);
        EXPECT_EQ(reachable(*graph), 2000U) << degree;
        EXPECT_EQ(list_error(*graph, degree), "");
      }
    }
  }
}

TEST(Vamana, OneThreadAndOneSeedGiveTheSameGraph) {
  const auto vectors = clustered(500, 8, 3);
  const auto a = build(vectors, 8, parameters_of(12, 1));
  const auto b = build(vectors, 8, parameters_of(12, 1));
  const auto c = build(vectors, 8, parameters_of(12, 1, 2));
  EXPECT_EQ(a->entry(), b->entry());
  std::size_t different = 0;
  for (std::uint32_t v = 0; v < 500; ++v) {
    ASSERT_EQ(neighbors_of(*a, v), neighbors_of(*b, v));
    different += neighbors_of(*a, v) != neighbors_of(*c, v) ? 1U : 0U;
  }
  EXPECT_GT(different, 0U);
}

TEST(Vamana, TwoVectorsAreNeighbours) {
  for (const Metric metric : {Metric::kL2, Metric::kIp, Metric::kCosine}) {
    const auto graph = build({1, 2, 3, 4, 5, 6}, 3, parameters_of(2, 2), metric);
    EXPECT_EQ(neighbors_of(*graph, 0), std::vector<std::uint32_t>{1});
    EXPECT_EQ(neighbors_of(*graph, 1), std::vector<std::uint32_t>{0});
  }
}

TEST(Vamana, FewVectorsAreAllReached) {
  for (std::uint32_t count = 2; count < 40; ++count) {
    const auto graph = build(clustered(count, 4, count), 4, parameters_of(8, 2));
    EXPECT_EQ(list_error(*graph, 8), "");
    EXPECT_EQ(reachable(*graph), count);
  }
}

TEST(Vamana, CancelStopsIt) {
  const auto vectors = clustered(3000, 16, 4);
  WorkMonitor monitor;
  monitor.cancelled = true;
  EXPECT_THROW(build(vectors, 16, parameters_of(24, 2), Metric::kL2, &monitor), Error);
  WorkMonitor later;
  std::jthread other([&] {
    while (later.done < 200) std::this_thread::yield();
    later.cancelled = true;
  });
  try {
    (void)build(vectors, 16, parameters_of(24, 2), Metric::kL2, &later);
    FAIL() << "it should have thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCancelled);
  }
  EXPECT_LT(later.done, later.total);
}

TEST(Vamana, ProgressEndsAtTheTotal) {
  WorkMonitor monitor;
  (void)build(clustered(300, 4, 5), 4, parameters_of(8, 2), Metric::kL2, &monitor);
  EXPECT_GE(monitor.done, monitor.total);
  EXPECT_GT(monitor.total, 0U);
}

TEST(Vamana, TheEstimateOfMemoryCoversTheLists) {
  const VamanaParameters parameters = parameters_of(32, 2);
  EXPECT_GE(vamana_memory_bytes(1000, parameters), 1000U * (slack_degree(32) + 1) * 4);
  EXPECT_GT(vamana_memory_bytes(2'000'000'000, parameters), vamana_memory_bytes(1'000'000'000, parameters));
}

/// Shares of `k` that exist and that searches for `queries` found; every id once.
double filled(const SmallIndex& index, const std::vector<float>& queries, std::uint32_t k) {
  GraphSearcher searcher(rdma::DramTier::from_bytes(index.records), index.part());
  SearchRequest request;
  request.parameters.k = k;
  request.parameters.search_list = 64;
  const Found found = search(searcher, queries, request);
  for (std::size_t row = 0; row < found.ids.size(); row += k) {
    std::multiset<std::int64_t> ids(found.ids.begin() + static_cast<std::ptrdiff_t>(row),
                                    found.ids.begin() + static_cast<std::ptrdiff_t>(row + k));
    ids.erase(-1);
    EXPECT_EQ(std::set<std::int64_t>(ids.begin(), ids.end()).size(), ids.size());
  }
  const auto absent = std::count(found.ids.begin(), found.ids.end(), -1);
  return 1 - static_cast<double>(absent) / static_cast<double>(found.ids.size());
}

TEST(Vamana, OnlyDuplicatesStillFillTheResults) {
  SmallIndexOptions options;
  options.count = 200;
  options.dim = 4;
  for (const Metric metric : {Metric::kL2, Metric::kIp, Metric::kCosine}) {
    options.metric = metric;
    const SmallIndex index(options, std::vector<float>(std::size_t{200} * 4, 1.5F));
    EXPECT_EQ(list_error(*index.graph, options.graph_degree), "");
    EXPECT_EQ(filled(index, std::vector<float>(4, 1.0F), 10), 1.0) << static_cast<int>(metric);
  }
}

TEST(Vamana, ManyDuplicatesAmongOthersHideNothing) {
  SmallIndexOptions options;
  options.count = 1000;
  options.dim = 8;
  std::vector<float> vectors = clustered(1000, 8, 6);
  for (std::size_t i = 0; i < 1000; i += 3) std::copy_n(vectors.data(), 8, vectors.data() + i * 8);
  const SmallIndex index(options, vectors);
  EXPECT_EQ(list_error(*index.graph, options.graph_degree), "");
  const auto queries = clustered(1100, 8, 6);
  const std::vector<float> others(queries.end() - 800, queries.end());
  EXPECT_EQ(filled(index, others, 10), 1.0);
  GraphSearcher searcher(rdma::DramTier::from_bytes(index.records), index.part());
  SearchRequest request;
  request.parameters.k = 10;
  request.parameters.search_list = 100;
  const Found found = search(searcher, others, request);
  const Found truth = exact(index, others, 10);
  std::size_t near_enough = 0;
  for (std::size_t i = 0; i < found.ids.size(); ++i) {
    near_enough += found.distances[i] <= truth.distances[i / 10 * 10 + 9] ? 1U : 0U;
  }
  EXPECT_GE(near_enough, found.ids.size() * 95 / 100);
}

TEST(Vamana, EveryVectorSixTimesIsStillOneGraph) {
  SmallIndexOptions options;
  options.count = 900;
  options.dim = 8;
  std::vector<float> vectors = clustered(900, 8, 6);
  for (std::size_t i = 150; i < 900; ++i) std::copy_n(vectors.data() + i % 150 * 8, 8, vectors.data() + i * 8);
  for (const float alpha : {1.0F, 1.2F}) {
    VamanaParameters parameters = parameters_of(16, 1);
    parameters.alpha = alpha;
    EXPECT_EQ(reachable(*build(vectors, 8, parameters)), 900U) << alpha;
    EXPECT_EQ(reachable(*build(vectors, 8, parameters, Metric::kCosine)), 900U) << alpha;
  }
}

TEST(Vamana, LateVerticesStayAloneUntilTheyAreLinked) {
  const auto vectors = clustered(600, 8, 11);
  const VectorSpace space(vectors.data(), 600, 8, Dtype::kFloat32, Metric::kL2, 2);
  const VamanaParameters parameters = parameters_of(12, 2);
  std::vector<std::uint32_t> late;
  for (std::uint32_t v = 0; v < 600; v += 10) late.push_back(v);
  const auto graph = build_vamana(space, parameters, late, nullptr);
  for (std::uint32_t v = 0; v < 600; ++v) {
    EXPECT_EQ(graph->degree(v) == 0, v % 10 == 0) << v;
    for (const std::uint32_t neighbor : neighbors_of(*graph, v)) EXPECT_NE(neighbor % 10, 0U) << v;
  }
  EXPECT_NE(graph->entry() % 10, 0U);
  EXPECT_EQ(reachable(*graph), 540U);
  link_late(space, parameters, *graph, late, nullptr);
  EXPECT_EQ(list_error(*graph, 12), "");
  EXPECT_EQ(reachable(*graph), 600U);
}

TEST(Vamana, TheFirstVectorsMayAllBeLate) {
  const auto vectors = clustered(40, 4, 12);
  const VectorSpace space(vectors.data(), 40, 4, Dtype::kFloat32, Metric::kL2, 1);
  std::vector<std::uint32_t> late(39);
  for (std::uint32_t v = 0; v < 39; ++v) late[v] = v;
  const auto graph = build_vamana(space, parameters_of(8, 1), late, nullptr);
  EXPECT_EQ(graph->entry(), 39U);
  link_late(space, parameters_of(8, 1), *graph, late, nullptr);
  EXPECT_EQ(reachable(*graph), 40U);
}

TEST(Vamana, AGraphComesBackAsItWasSetAside) {
  const auto graph = build(clustered(300, 8, 13), 8, parameters_of(10, 1));
  std::vector<std::vector<std::uint32_t>> before;
  for (std::uint32_t v = 0; v < 300; ++v) before.push_back(neighbors_of(*graph, v));
  const std::string path = ::testing::TempDir() + "/graph.aside." + std::to_string(::getpid());
  graph->set_aside(path);
  graph->bring_back(path);
  for (std::uint32_t v = 0; v < 300; ++v) EXPECT_EQ(neighbors_of(*graph, v), before[v]);
  std::filesystem::resize_file(path, 100);
  EXPECT_THROW(graph->bring_back(path), Error);
  std::filesystem::remove(path);
  EXPECT_THROW(graph->set_aside(::testing::TempDir() + "/no/such/folder/graph"), Error);
  EXPECT_EQ(neighbors_of(*graph, 299), before[299]);
}

TEST(NavigationSample, IsASmallGraphOverSomeVertices) {
  const auto vectors = clustered(500, 8, 7);
  const VectorSpace space(vectors.data(), 500, 8, Dtype::kFloat32, Metric::kL2, 1);
  for (const std::uint32_t size : {0U, 1U, 2U, 64U, 500U, 9999U}) {
    const NavigationSample sample = build_navigation_sample(space, size, {}, 1, 2, nullptr);
    EXPECT_EQ(sample.ids.size(), std::clamp(size, 1U, 500U));
    EXPECT_EQ(std::set<std::uint32_t>(sample.ids.begin(), sample.ids.end()).size(), sample.ids.size());
    EXPECT_NO_THROW(check_navigation_sample(sample, 500));
    for (std::size_t i = 0; i < sample.ids.size(); ++i) {
      for (std::size_t j = 0; j < NavigationSample::kDegree; ++j) {
        EXPECT_NE(sample.adjacency[i * NavigationSample::kDegree + j], i);
      }
    }
  }
}

TEST(NavigationSample, ItsLinksAreBetweenNearVectorsAlsoOfTheEntry) {
  // The entry changes places with position 0, and every link has to follow.
  const auto vectors = clustered(400, 8, 8);
  const VectorSpace space(vectors.data(), 400, 8, Dtype::kFloat32, Metric::kL2, 1);
  const NavigationSample sample = build_navigation_sample(space, 400, {}, 3, 1, nullptr);
  for (std::size_t i = 0; i < 400; ++i) {
    std::uint32_t nearest = sample.ids[i == 0 ? 1 : 0];
    for (const std::uint32_t other : sample.ids) {
      if (other != sample.ids[i] && space.distance(sample.ids[i], other) < space.distance(sample.ids[i], nearest)) {
        nearest = other;
      }
    }
    bool linked = false;
    for (std::size_t j = 0; j < NavigationSample::kDegree; ++j) {
      const std::uint32_t position = sample.adjacency[i * NavigationSample::kDegree + j];
      linked |= position != NavigationSample::kNone && sample.ids[position] == nearest;
    }
    EXPECT_TRUE(linked) << "position " << i;
  }
}

TEST(NavigationSample, LeavesOutWhatItIsTold) {
  const auto vectors = clustered(100, 8, 9);
  const VectorSpace space(vectors.data(), 100, 8, Dtype::kFloat32, Metric::kL2, 1);
  const std::vector<std::uint32_t> without = {0, 3, 50, 99};
  const NavigationSample sample = build_navigation_sample(space, 100, without, 1, 1, nullptr);
  EXPECT_EQ(sample.ids.size(), 96U);
  for (const std::uint32_t id : without) EXPECT_EQ(std::count(sample.ids.begin(), sample.ids.end(), id), 0);
}

TEST(NavigationSample, IsTheSameForOneSeedAndOneThread) {
  const auto vectors = clustered(500, 8, 9);
  const VectorSpace space(vectors.data(), 500, 8, Dtype::kFloat32, Metric::kL2, 1);
  const NavigationSample a = build_navigation_sample(space, 50, {}, 5, 1, nullptr);
  const NavigationSample b = build_navigation_sample(space, 50, {}, 5, 1, nullptr);
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.adjacency, b.adjacency);
}

}  // namespace
}  // namespace tiervec::graph_index
