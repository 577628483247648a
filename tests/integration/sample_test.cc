// The repository's sample through the native engine, from linking to answers: what the sanitizers look at as a whole.

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include <tiervec/core/vector_kernels.h>
#include <tiervec/rdma/tier_registry.h>

#include "graph_index/small_index.h"

namespace tiervec::graph_index {
namespace {

using testing::exact;
using testing::Found;
using testing::recall;
using testing::search;
using testing::SmallIndex;
using testing::SmallIndexOptions;

constexpr std::uint32_t kDim = 384;

/// A .npy file of version 1 with float16 values, widened.
std::vector<float> read_half_npy(const std::string& name) {
  std::ifstream file(std::string(TIERVEC_SAMPLE_DIR) + "/" + name, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(file), {}};
  if (content.size() < 128 || content.find("'descr': '<f2'") > 128) throw std::runtime_error(name + " is not float16");
  const std::size_t at = 10 + static_cast<unsigned char>(content[8]) + 256U * static_cast<unsigned char>(content[9]);
  std::vector<float> values((content.size() - at) / 2);
  widen(Dtype::kFloat16, reinterpret_cast<const std::byte*>(content.data() + at), values.size(), values.data());
  return values;
}

/// The records in a file, as a tier loads them.
class RegionFile {
 public:
  explicit RegionFile(const std::vector<std::byte>& bytes)
      : path_(::testing::TempDir() + "tiervec-sample-" + std::to_string(::getpid())) {
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  ~RegionFile() { std::filesystem::remove(path_); }
  RegionFile(const RegionFile&) = delete;
  RegionFile& operator=(const RegionFile&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(Sample, IsLinkedByTwoThreadsAndFoundOnEveryLocalTier) {
  SmallIndexOptions options;
  std::vector<float> vectors = read_half_npy("vectors.npy");
  options.count = static_cast<std::uint32_t>(vectors.size() / kDim);
  options.dim = kDim;
  options.metric = Metric::kCosine;
  options.threads = 2;
  ASSERT_EQ(options.count, 5000U);
  const SmallIndex index(options, std::move(vectors));
  const std::vector<float> queries = read_half_npy("queries.npy");
  ASSERT_EQ(queries.size(), 72 * kDim);
  const Found truth = exact(index, queries, 10);
  const RegionFile region(index.records);
  for (const char* url : {"dram:", "mmap:", "emulated:rdma-200g"}) {
    GraphSearcher searcher(rdma::open_tier(url, region.path()), index.part());
    for (const std::uint32_t beam_width : {1U, 4U}) {
      SearchRequest request;
      request.parameters.search_list = 48;
      request.parameters.beam_width = beam_width;
      request.threads = 2;
      EXPECT_GE(recall(search(searcher, queries, request), truth, 10), 0.95) << url << ' ' << beam_width;
    }
  }
}

}  // namespace
}  // namespace tiervec::graph_index
