#pragma once

// A cluster index over a few hundred vectors in every layout, made without Python, and exact answers to compare with.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include <tiervec/cluster_index/cluster_record_writer.h>
#include <tiervec/cluster_index/cluster_searcher.h>
#include <tiervec/cluster_index/code_blocks.h>
#include <tiervec/core/codes/dot_code.h>
#include <tiervec/core/exact_search.h>
#include <tiervec/core/half.h>
#include <tiervec/core/vector_kernels.h>
#include <tiervec/rdma/dram_tier.h>

namespace tiervec::cluster_index::testing {

struct SmallClustersOptions {
  Layout layout = Layout::kCoded;
  std::uint32_t count = 700;
  std::uint32_t dim = 19;
  std::uint32_t clusters = 23;
  std::uint32_t groups = 5;
  std::uint32_t replicas = 1;  // clusters that hold a vector; not for coded
  Metric metric = Metric::kL2;
  Dtype dtype = Dtype::kFloat32;
  std::uint32_t align = 1;       // replicated
  std::int64_t first_label = 0;  // the label of row i is first_label + i
  std::uint64_t salt = 0x0123456789abcdef;
};

/// Vectors around a few centres, as real ones are, in the range of every dtype.
inline std::vector<std::byte> some_vectors(std::uint32_t count, std::uint32_t dim, Dtype dtype, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::mt19937 center_random(99);
  std::vector<float> centers(std::size_t{8} * dim);
  for (float& value : centers) value = 20 * normal(center_random) + (dtype == Dtype::kUint8 ? 128.0F : 3.0F);
  std::vector<std::byte> bytes(std::size_t{count} * dim * element_bytes(dtype));
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::size_t center = random() % 8;
    for (std::uint32_t d = 0; d < dim; ++d) {
      const float value = centers[center * dim + d] + 10 * normal(random);
      const std::size_t at = std::size_t{i} * dim + d;
      switch (dtype) {
        case Dtype::kFloat32:
          std::memcpy(bytes.data() + at * 4, &value, 4);
          break;
        case Dtype::kFloat16: {
          const std::uint16_t half = float_to_half(value);
          std::memcpy(bytes.data() + at * 2, &half, 2);
          break;
        }
        case Dtype::kInt8:
          bytes[at] = static_cast<std::byte>(static_cast<std::int8_t>(std::clamp(value, -127.0F, 127.0F)));
          break;
        case Dtype::kUint8:
          bytes[at] = static_cast<std::byte>(static_cast<std::uint8_t>(std::clamp(value, 0.0F, 255.0F)));
          break;
      }
    }
  }
  return bytes;
}

inline std::vector<std::byte> pack_integers(std::span<const std::uint64_t> values, std::uint32_t width) {
  std::vector<std::byte> bytes(PackedIntegers::bytes(values.size(), width));
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (width < 64 && values[i] >> width != 0) throw std::out_of_range(std::to_string(values[i]) + " has more bits");
    for (std::uint32_t bit = 0; bit < width; ++bit) {
      const std::size_t at = i * width + bit;
      if ((values[i] >> bit & 1) != 0) bytes[at / 8] |= static_cast<std::byte>(1U << (at % 8));
    }
  }
  return bytes;
}

class SmallClusters {
 public:
  explicit SmallClusters(const SmallClustersOptions& wanted)
      : options(wanted), data(some_vectors(wanted.count, wanted.dim, wanted.dtype, 17)) {
    floats.resize(std::size_t{options.count} * options.dim);
    widen(options.dtype, data.data(), floats.size(), floats.data());
    if (options.metric == Metric::kCosine) normalize();
    choose_centroids();
    assign();
    encode();
    write();
  }

  /// What a searcher takes; borrows, so this has to outlive it.
  [[nodiscard]] ClusterFastPart part() const {
    ClusterFastPart fast;
    fast.count = options.count;
    fast.dim = options.dim;
    fast.dtype = options.dtype;
    fast.metric = options.metric;
    fast.layout = options.layout;
    fast.salt = options.salt;
    fast.ids = {labels.data(), kLabelBits, options.count};
    fast.cluster_offsets = cluster_offsets;
    fast.navigation =
        ClusterNavigation(centroid_code, group_rows.data(), group_offsets, centroid_rows.data(), options.clusters);
    if (options.layout == Layout::kCoded) {
      fast.code = code;
      fast.code_blocks = blocks.as<std::uint8_t>();
      return fast;
    }
    fast.posting_offsets = posting_offsets;
    fast.posting_counts = posting_counts;
    fast.cluster_places = cluster_places;
    if (options.layout != Layout::kReplicated) {
      fast.addresses = {addresses.data(), kAddressBits, posting_offsets.back()};
    }
    return fast;
  }

  [[nodiscard]] std::uint32_t home(std::uint32_t row) const { return members_of_[row].front(); }

  static constexpr std::uint32_t kLabelBits = 37;
  static constexpr std::uint32_t kAddressBits = 14;

  const SmallClustersOptions options;
  const std::vector<std::byte> data;
  std::vector<float> floats;  // unit length for cosine
  std::vector<float> centroids;
  std::vector<std::uint32_t> group_offsets;
  std::vector<std::uint32_t> order;  // row at each position
  std::vector<std::uint32_t> position_of;
  std::vector<std::uint32_t> cluster_offsets;
  std::vector<std::uint32_t> cluster_places;  // grouped: from the last cluster to the first
  std::shared_ptr<const codes::Code> centroid_code;
  std::vector<std::uint8_t> centroid_rows;
  std::vector<std::uint8_t> group_rows;
  std::shared_ptr<const codes::Code> code;
  HugeBuffer blocks;
  std::vector<std::byte> labels;
  std::vector<std::uint64_t> posting_offsets;
  std::vector<std::uint32_t> posting_counts;
  std::vector<std::byte> addresses;
  std::vector<std::byte> region;  // on the tier

 private:
  void normalize() {
    for (std::uint32_t i = 0; i < options.count; ++i) {
      float* row = floats.data() + std::size_t{i} * options.dim;
      const float norm = std::sqrt(std::inner_product(row, row + options.dim, row, 0.0F));
      for (std::uint32_t d = 0; norm > 0 && d < options.dim; ++d) row[d] /= norm;
    }
  }

  // Some vectors are the centroids; consecutive ones make a group, whose centroid is their mean.
  void choose_centroids() {
    const std::uint32_t dim = options.dim;
    for (std::uint32_t c = 0; c < options.clusters; ++c) {
      const float* row = floats.data() + std::size_t{(c * 29) % options.count} * dim;
      centroids.insert(centroids.end(), row, row + dim);
    }
    for (std::uint32_t g = 0; g <= options.groups; ++g) group_offsets.push_back(g * options.clusters / options.groups);
    for (std::uint32_t g = 0; g < options.groups; ++g) {
      std::vector<float> mean(dim, 0.0F);
      for (std::uint32_t c = group_offsets[g]; c < group_offsets[g + 1]; ++c) {
        for (std::uint32_t d = 0; d < dim; ++d) {
          mean[d] += centroids[std::size_t{c} * dim + d] / static_cast<float>(group_offsets[g + 1] - group_offsets[g]);
        }
      }
      group_centroids_.insert(group_centroids_.end(), mean.begin(), mean.end());
    }
  }

  void assign() {
    const std::uint32_t dim = options.dim;
    std::vector<std::vector<std::uint32_t>> members(options.clusters);
    std::vector<std::vector<std::uint32_t>> own(options.clusters);
    for (std::uint32_t i = 0; i < options.count; ++i) {
      std::vector<std::pair<float, std::uint32_t>> near;
      for (std::uint32_t c = 0; c < options.clusters; ++c) {
        float distance = 0;
        for (std::uint32_t d = 0; d < dim; ++d) {
          const float x = floats[std::size_t{i} * dim + d] - centroids[std::size_t{c} * dim + d];
          distance += x * x;
        }
        near.emplace_back(distance, c);
      }
      std::sort(near.begin(), near.end());
      near.resize(std::min<std::size_t>(options.replicas, near.size()));
      members_of_.emplace_back();
      for (const auto& [distance, cluster] : near) {
        members[cluster].push_back(i);
        members_of_.back().push_back(cluster);
      }
      own[near.front().second].push_back(i);
    }
    position_of.resize(options.count);
    const bool by_cluster = options.layout == Layout::kCoded || options.layout == Layout::kGrouped;
    const auto at_place = [&](std::uint32_t place) {
      return options.layout == Layout::kGrouped ? options.clusters - 1 - place : place;
    };
    for (std::uint32_t place = 0; place < options.clusters; ++place) {
      const std::uint32_t c = at_place(place);
      if (options.layout == Layout::kGrouped) cluster_places.push_back(c);  // its own inverse
      cluster_offsets.push_back(by_cluster ? static_cast<std::uint32_t>(order.size()) : 0);
      order.insert(order.end(), own[c].begin(), own[c].end());
    }
    cluster_offsets.push_back(by_cluster ? options.count : 0);
    for (std::uint32_t p = 0; p < options.count; ++p) position_of[order[p]] = p;
    std::vector<std::uint64_t> label_values;
    for (const std::uint32_t row : order) {
      label_values.push_back(static_cast<std::uint64_t>(options.first_label + row));
    }
    labels = pack_integers(label_values, kLabelBits);
    if (options.layout == Layout::kCoded) return;
    std::vector<std::uint64_t> listed;
    posting_offsets.push_back(0);
    for (std::uint32_t place = 0; place < options.clusters; ++place) {
      const std::uint32_t c = at_place(place);
      for (const std::uint32_t row : members[c]) {
        const bool elsewhere = options.layout != Layout::kGrouped || home(row) != c;
        if (elsewhere) listed.push_back(options.layout == Layout::kReplicated ? row : position_of[row]);
      }
      posting_offsets.push_back(listed.size());
      posting_counts.push_back(static_cast<std::uint32_t>(posting_offsets[place + 1] - posting_offsets[place]));
    }
    if (options.layout == Layout::kReplicated) {
      posting_rows_.assign(listed.begin(), listed.end());
    } else {
      addresses = pack_integers(listed, kAddressBits);
      posting_counts.clear();
    }
  }

  // Eight bits for each dimension, over `spread` around `center`.
  [[nodiscard]] std::shared_ptr<codes::DotCode> make_code(const std::vector<float>& center, float spread) const {
    codes::DotCodeParameters parameters;
    parameters.metric = options.metric;
    parameters.dim = options.dim;
    parameters.row_bytes = std::max(options.dim + codes::kFactorBytes, 8U);
    parameters.center = center;
    parameters.steps.assign(options.dim, 2 * spread / 255);
    parameters.widths.assign(options.dim, 8);
    parameters.unbiased = false;
    return std::make_shared<codes::DotCode>(std::move(parameters));
  }

  void encode() {
    const std::uint32_t dim = options.dim;
    std::vector<float> mean(dim, 0.0F);
    for (std::size_t i = 0; i < floats.size(); ++i) mean[i % dim] += floats[i] / static_cast<float>(options.count);
    float spread = 1e-3F;
    for (std::size_t i = 0; i < floats.size(); ++i) spread = std::max(spread, std::fabs(floats[i] - mean[i % dim]));
    const auto trained = make_code(mean, spread);
    const std::size_t row_bytes = trained->row_bytes();
    centroid_rows.resize(options.clusters * row_bytes);
    trained->encode(centroids.data(), options.clusters, centroid_rows.data());
    group_rows.resize(options.groups * row_bytes);
    trained->encode(group_centroids_.data(), options.groups, group_rows.data());
    centroid_code = trained;
    if (options.layout != Layout::kCoded) return;
    code = make_code(mean, spread);
    blocks = HugeBuffer(code_blocks_bytes(*code, options.count));
    encode_clusters({data.data(), options.count, options.dtype, order, cluster_offsets}, *centroid_code,
                    centroid_rows.data(), *code, blocks.as<std::uint8_t>(), 1, nullptr);
  }

  void write() {
    const std::filesystem::path path =
        std::filesystem::temp_directory_path() / ("tiervec-clusters-" + std::to_string(::getpid()));
    const VectorRows rows{data.data(), options.count,
                          options.dim * static_cast<std::uint32_t>(element_bytes(options.dtype)), options.salt};
    if (options.layout == Layout::kReplicated) {
      posting_offsets = write_cluster_postings(
          path.string(), rows,
          {.members = posting_rows_, .offsets = posting_offsets, .positions = position_of, .align = options.align},
          nullptr);
    } else {
      write_cluster_vectors(path.string(), rows, order, nullptr);
    }
    region.resize(std::filesystem::file_size(path));
    std::ifstream(path, std::ios::binary)
        .read(reinterpret_cast<char*>(region.data()), static_cast<std::streamsize>(region.size()));
    std::filesystem::remove(path);
  }

  std::vector<std::vector<std::uint32_t>> members_of_;  // clusters of each row, nearest first
  std::vector<float> group_centroids_;
  std::vector<std::uint32_t> posting_rows_;
};

struct Found {
  std::vector<std::int64_t> ids;
  std::vector<float> distances;
  std::vector<engine::QueryCost> costs;
  engine::WorkerTime time{};
};

inline std::vector<std::byte> some_queries(const SmallClusters& index, std::uint32_t count) {
  const Dtype asked = query_dtype(index.options.dtype);
  const std::vector<std::byte> stored = some_vectors(count, index.options.dim, index.options.dtype, 18);
  if (asked == index.options.dtype) return stored;
  std::vector<std::byte> queries(std::size_t{count} * index.options.dim * element_bytes(asked));
  widen(index.options.dtype, stored.data(), std::size_t{count} * index.options.dim,
        reinterpret_cast<float*>(queries.data()));
  return queries;
}

/// One call of `search`; what it throws passes through. The request's outputs are filled in here.
inline Found search(ClusterSearcher& searcher, std::span<const std::byte> queries, ClusterSearchRequest request = {}) {
  request.queries = queries.data();
  request.count = static_cast<std::uint32_t>(queries.size() / (searcher.dim() * element_bytes(searcher.query_dtype())));
  const std::size_t cells = std::size_t{request.count} * request.parameters.k;
  Found found{std::vector<std::int64_t>(cells, -7),
              std::vector<float>(cells, -7),
              std::vector<engine::QueryCost>(request.count),
              {}};
  request.ids = found.ids.data();
  request.distances = found.distances.data();
  request.costs = found.costs.data();
  found.time = searcher.search(request);
  return found;
}

inline Found exact(const SmallClusters& index, std::span<const std::byte> queries, std::uint32_t k,
                   const std::int64_t* exclude_rows = nullptr) {
  const Dtype asked = query_dtype(index.options.dtype);
  ExactSearchRequest request;
  request.data = index.data.data();
  request.count = index.options.count;
  request.dim = index.options.dim;
  request.dtype = index.options.dtype;
  request.metric = index.options.metric;
  request.queries = queries.data();
  request.query_count = static_cast<std::uint32_t>(queries.size() / (index.options.dim * element_bytes(asked)));
  request.k = k;
  request.exclude = exclude_rows;
  Found found{std::vector<std::int64_t>(std::size_t{request.query_count} * k),
              std::vector<float>(std::size_t{request.query_count} * k),
              {}};
  request.ids = found.ids.data();
  request.distances = found.distances.data();
  exact_search(request, 1, nullptr);
  for (std::int64_t& id : found.ids) id += id < 0 ? 0 : index.options.first_label;
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

inline constexpr Layout kLayouts[] = {Layout::kCoded, Layout::kGrouped, Layout::kDecoupled, Layout::kReplicated};

inline ClusterSearchRequest with(std::uint32_t k, std::uint32_t nprobe, std::uint32_t rerank = 40,
                                 unsigned threads = 1) {
  ClusterSearchRequest request;
  request.parameters.k = k;
  request.parameters.nprobe = nprobe;
  request.parameters.rerank = rerank;
  request.threads = threads;
  return request;
}

inline SmallClustersOptions of(Layout layout) {
  SmallClustersOptions options;
  options.layout = layout;
  options.replicas = layout == Layout::kCoded ? 1 : 3;
  return options;
}

inline std::shared_ptr<rdma::Tier> dram(const SmallClusters& index) {
  return rdma::DramTier::from_bytes(index.region);
}

inline ErrorCode error_of(ClusterSearcher& searcher, std::span<const std::byte> queries,
                          const ClusterSearchRequest& request) {
  try {
    (void)search(searcher, queries, request);
    return ErrorCode::kOk;
  } catch (const Error& error) {
    return error.code();
  }
}

}  // namespace tiervec::cluster_index::testing
