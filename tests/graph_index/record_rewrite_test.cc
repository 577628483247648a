// The same records in another form and back.

#include <tiervec/graph_index/record_writer.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/core/status.h>

#include "graph_index/small_index.h"

namespace tiervec::graph_index {
namespace {

using testing::SmallIndex;
using testing::SmallIndexOptions;

struct Rewritten {
  WrittenRecords written;
  std::vector<std::byte> bytes;
};

Rewritten rewrite(const WrittenRecords& from, const std::vector<std::byte>& section, std::uint32_t count,
                  RecordForm form) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("tiervec-rewritten-" + std::to_string(::getpid()));
  Rewritten result;
  try {
    result.written =
        rewrite_records({from.layout, from.locator, count, section}, {.path = path.string(), .form = form}, nullptr);
  } catch (...) {
    std::filesystem::remove(path);
    throw;
  }
  result.bytes.resize(std::filesystem::file_size(path));
  std::ifstream(path, std::ios::binary)
      .read(reinterpret_cast<char*>(result.bytes.data()), static_cast<std::streamsize>(result.bytes.size()));
  std::filesystem::remove(path);
  return result;
}

TEST(RewriteRecords, GivesWhatWritingGives) {
  for (const bool labelled : {false, true}) {
    SmallIndexOptions options;
    options.count = 300;
    if (labelled) {
      for (std::int64_t i = 0; i < 300; ++i) options.labels.push_back(100'000 - i);
    }
    for (const RecordForm from : {RecordForm::kPacked, RecordForm::kPlain, RecordForm::kSectors}) {
      options.form = from;
      const SmallIndex old(options);
      for (const RecordForm to : {RecordForm::kPacked, RecordForm::kPlain, RecordForm::kSectors}) {
        options.form = to;
        const SmallIndex wanted(options);
        const Rewritten there = rewrite(old.written, old.records, 300, to);
        EXPECT_EQ(there.bytes, wanted.records);
        EXPECT_EQ(there.written.layout.salt, wanted.written.layout.salt);
        EXPECT_EQ(there.written.edges, wanted.written.edges);
        EXPECT_EQ(there.written.locator.size(), wanted.written.locator.size());
      }
    }
  }
}

TEST(RewriteRecords, NoticesEveryDamagedRecord) {
  SmallIndexOptions options;
  options.count = 100;
  const SmallIndex index(options);
  std::mt19937_64 random(3);
  for (int i = 0; i < 200; ++i) {
    std::vector<std::byte> damaged = index.records;
    damaged[random() % (damaged.size() - RecordLayout::kOverread)] ^= static_cast<std::byte>(1U << random() % 8);
    EXPECT_THROW((void)rewrite(index.written, damaged, 100, RecordForm::kSectors), Error);
  }
}

}  // namespace
}  // namespace tiervec::graph_index
