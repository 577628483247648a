#pragma once

// A graph index over a few hundred vectors, made without Python, and the exact answers to queries on it.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include <tiervec/core/codes/dot_code.h>
#include <tiervec/core/exact_search.h>
#include <tiervec/graph_index/graph_searcher.h>
#include <tiervec/graph_index/navigation_sample.h>
#include <tiervec/graph_index/record_writer.h>
#include <tiervec/graph_index/vamana.h>
#include <tiervec/graph_index/vector_space.h>

namespace tiervec::graph_index::testing {

/// Vectors around a few centres, as real ones are.
inline std::vector<float> clustered(std::uint32_t count, std::uint32_t dim, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> centers(std::size_t{8} * dim);
  for (float& value : centers) value = 2 * normal(random);
  std::vector<float> vectors(std::size_t{count} * dim);
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::size_t center = random() % 8;
    for (std::uint32_t d = 0; d < dim; ++d)
      vectors[std::size_t{i} * dim + d] = centers[center * dim + d] + normal(random);
  }
  return vectors;
}

struct SmallIndexOptions {
  std::uint32_t count = 600;
  std::uint32_t dim = 19;
  Metric metric = Metric::kL2;
  std::uint32_t graph_degree = 16;
  unsigned threads = 1;
  std::uint64_t seed = 1;
  std::vector<std::int64_t> labels = {};
  RecordForm form = RecordForm::kPacked;
  std::uint64_t description = 0;
  bool random_lists = false;  // full lists of random neighbours in place of a Vamana graph
};

class SmallIndex {
 public:
  explicit SmallIndex(const SmallIndexOptions& wanted = {})
      : SmallIndex(wanted, clustered(wanted.count, wanted.dim, 17)) {}
  SmallIndex(const SmallIndexOptions& wanted, std::vector<float> given) : options(wanted), vectors(std::move(given)) {
    const VectorSpace space = make_space();
    VamanaParameters parameters;
    parameters.graph_degree = options.graph_degree;
    parameters.build_list = 2 * options.graph_degree;
    parameters.threads = options.threads;
    parameters.seed = options.seed;
    graph = options.random_lists ? random_graph() : build_vamana(space, parameters, {}, nullptr);
    write();
    navigation =
        build_navigation_sample(space, std::max(1U, options.count / 16), {}, options.seed, options.threads, nullptr);
    encode();
  }

  [[nodiscard]] VectorSpace make_space() const {
    return {vectors.data(), options.count, options.dim, Dtype::kFloat32, options.metric, 1};
  }
  [[nodiscard]] const float* vector(std::size_t row) const { return vectors.data() + row * options.dim; }

  /// What a searcher takes; borrows the rows, so this index has to outlive it.
  [[nodiscard]] GraphFastPart part() const {
    GraphFastPart result;
    result.count = options.count;
    result.metric = options.metric;
    result.layout = written.layout;
    result.locator = written.locator;
    result.navigation = navigation;
    result.code = code;
    result.rows = rows.data();
    return result;
  }

  const SmallIndexOptions options;
  const std::vector<float> vectors;
  std::unique_ptr<Graph> graph;
  WrittenRecords written;
  std::vector<std::byte> records;  // the section
  NavigationSample navigation;
  std::shared_ptr<const codes::Code> code;
  std::vector<std::uint8_t> rows;

 private:
  void write() {
    const std::filesystem::path path =
        std::filesystem::temp_directory_path() / ("tiervec-records-" + std::to_string(::getpid()));
    written = write_records(*graph, make_space(), options.labels,
                            {.path = path.string(), .form = options.form, .description = options.description}, nullptr);
    records.resize(std::filesystem::file_size(path));
    std::ifstream(path, std::ios::binary)
        .read(reinterpret_cast<char*>(records.data()), static_cast<std::streamsize>(records.size()));
    std::filesystem::remove(path);
  }

  [[nodiscard]] std::unique_ptr<Graph> random_graph() const {
    auto result = std::make_unique<Graph>(options.count, options.graph_degree);
    std::mt19937 random(5);
    for (std::uint32_t v = 0; v < options.count; ++v) {
      std::uint32_t* row = result->row(v);
      row[0] = options.graph_degree;
      const auto first = static_cast<std::uint32_t>(random());
      for (std::uint32_t i = 0; i < row[0]; ++i)
        row[1 + i] = (v + 1 + (first + i * 3) % (options.count - 1)) % options.count;
    }
    return result;
  }

  // Eight bits for each dimension over its range.
  void encode() {
    codes::DotCodeParameters parameters;
    parameters.metric = options.metric;
    parameters.dim = options.dim;
    parameters.row_bytes = std::max(options.dim + codes::kFactorBytes, 8U);
    for (std::uint32_t d = 0; d < options.dim; ++d) {
      float low = vectors[d];
      float high = vectors[d];
      for (std::uint32_t i = 0; i < options.count; ++i) {
        low = std::min(low, vector(i)[d]);
        high = std::max(high, vector(i)[d]);
      }
      if (options.metric == Metric::kCosine) low = -(high = 1);
      parameters.center.push_back((low + high) / 2);
      parameters.steps.push_back((high - low) / 255);
      parameters.widths.push_back(8);
    }
    parameters.unbiased = false;
    auto trained = std::make_shared<codes::DotCode>(std::move(parameters));
    rows.resize(std::size_t{options.count} * trained->row_bytes());
    trained->encode(vectors.data(), options.count, rows.data());
    code = std::move(trained);
  }
};

struct Found {
  std::vector<std::int64_t> ids;
  std::vector<float> distances;
  std::vector<QueryCost> costs;
};

/// One call of `search`; what it throws passes through. The request's outputs are filled in here.
inline Found search(GraphSearcher& searcher, std::span<const float> queries, SearchRequest request = {}) {
  request.queries = reinterpret_cast<const std::byte*>(queries.data());
  request.count = static_cast<std::uint32_t>(queries.size() / searcher.dim());
  const std::size_t cells = std::size_t{request.count} * request.parameters.k;
  Found found{std::vector<std::int64_t>(cells, -7), std::vector<float>(cells, -7),
              std::vector<QueryCost>(request.count)};
  request.ids = found.ids.data();
  request.distances = found.distances.data();
  request.costs = found.costs.data();
  searcher.search(request);
  return found;
}

inline Found exact(const SmallIndex& index, std::span<const float> queries, std::uint32_t k) {
  ExactSearchRequest request;
  request.data = reinterpret_cast<const std::byte*>(index.vectors.data());
  request.count = index.options.count;
  request.dim = index.options.dim;
  request.metric = index.options.metric;
  request.queries = reinterpret_cast<const std::byte*>(queries.data());
  request.query_count = static_cast<std::uint32_t>(queries.size() / index.options.dim);
  request.k = k;
  Found found{std::vector<std::int64_t>(std::size_t{request.query_count} * k),
              std::vector<float>(std::size_t{request.query_count} * k),
              {}};
  request.ids = found.ids.data();
  request.distances = found.distances.data();
  exact_search(request, 1, nullptr);
  return found;
}

/// Mean share of the true k that were found.
inline double recall(const Found& found, const Found& truth, std::uint32_t k) {
  std::size_t common = 0;
  for (std::size_t row = 0; row < found.ids.size(); row += k) {
    for (std::size_t i = row; i < row + k; ++i) {
      const auto begin = truth.ids.begin() + static_cast<std::ptrdiff_t>(row);
      common += std::find(begin, begin + k, found.ids[i]) != begin + k ? 1U : 0U;
    }
  }
  return static_cast<double>(common) / static_cast<double>(found.ids.size());
}

}  // namespace tiervec::graph_index::testing
