#include <tiervec/graph_index/record_writer.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include <sys/resource.h>
#include <unistd.h>

#include <csignal>

#include <gtest/gtest.h>

#include <tiervec/graph_index/candidate_list.h>

#include "graph_index/small_index.h"

namespace tiervec::graph_index {
namespace {

using testing::SmallIndex;
using testing::SmallIndexOptions;

TEST(WriteRecords, EveryRecordHoldsItsVectorLabelAndNeighbours) {
  SmallIndexOptions options;
  options.count = 333;
  for (std::int64_t i = 0; i < options.count; ++i) options.labels.push_back(5 * i);
  const SmallIndex index(options);
  const RecordLayout& layout = index.written.layout;
  const RecordLocator locator(layout, index.written.locator, options.count, index.records.size());
  std::uint64_t edges = 0;
  for (std::uint32_t v = 0; v < options.count; ++v) {
    const rdma::Read read = locator.locate(v);
    const std::byte* record = index.records.data() + read.offset;
    ASSERT_TRUE(layout.intact(v, record, read.length)) << v;
    EXPECT_EQ(std::memcmp(record, index.vector(v), layout.vector_bytes()), 0);
    EXPECT_EQ(layout.label(v, record), 5 * v);
    const std::uint32_t degree = layout.degree(record);
    ASSERT_EQ(degree, index.graph->degree(v));
    std::vector<std::uint32_t> neighbors((degree + 15) / 16 * 16);
    hop_kernels().unpack(record + layout.edges_at(), degree, layout.id_bits, neighbors.data());
    neighbors.resize(degree);
    EXPECT_EQ(neighbors, std::vector<std::uint32_t>(index.graph->neighbors(v), index.graph->neighbors(v) + degree));
    edges += degree;
  }
  EXPECT_EQ(index.written.edges, edges);
  EXPECT_EQ(index.written.bytes, index.records.size());
  for (std::size_t i = index.records.size() - RecordLayout::kOverread; i < index.records.size(); ++i) {
    EXPECT_EQ(index.records[i], std::byte{0});
  }
}

TEST(WriteRecords, OnlyTheLabelZeroStillIsALabel) {
  SmallIndexOptions options;
  options.count = 2;
  options.labels = {1, 0};
  const SmallIndex index(options);
  const RecordLocator locator(index.written.layout, index.written.locator, 2, index.records.size());
  EXPECT_EQ(index.written.layout.label(0, index.records.data() + locator.locate(0).offset), 1U);
  EXPECT_EQ(index.written.layout.label(1, index.records.data() + locator.locate(1).offset), 0U);
}

const SmallIndex& small_index() {
  static const SmallIndex index;
  return index;
}

std::string failure(const std::string& path, WorkMonitor* monitor = nullptr) {
  const SmallIndex& index = small_index();
  try {
    (void)write_records(*index.graph, index.make_space(), {}, {.path = path}, monitor);
    return "";
  } catch (const Error& error) {
    return std::string(error_code_name(error.code())) + ": " + error.what();
  }
}

TEST(WriteRecords, APathThatCannotBeWrittenIsNamed) {
  EXPECT_NE(failure("/nonexistent/records.bin").find("/nonexistent/records.bin"), std::string::npos);
}

TEST(WriteRecords, AFullDiskIsSaidToBeFull) {
  if (access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full here";
  EXPECT_EQ(failure("/dev/full").rfind("disk_full: ", 0), 0U) << failure("/dev/full");
}

TEST(WriteRecords, ALimitOfTheFileSizeIsNoCrash) {
  const auto path = std::filesystem::temp_directory_path() / ("tiervec-limited-" + std::to_string(::getpid()));
  (void)small_index();  // made before the limit, which is for the writer alone
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 4096;
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string what = failure(path.string());
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  std::filesystem::remove(path);
  EXPECT_EQ(what.rfind("disk_full: ", 0), 0U) << what;
}

TEST(WriteRecords, CanBeCancelled) {
  WorkMonitor monitor;
  monitor.cancelled = true;
  const auto path = std::filesystem::temp_directory_path() / ("tiervec-cancelled-" + std::to_string(::getpid()));
  EXPECT_EQ(failure(path.string(), &monitor).rfind("cancelled: ", 0), 0U);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace tiervec::graph_index
