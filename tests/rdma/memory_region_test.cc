#include <tiervec/rdma/memory_region.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <tiervec/core/status.h>

namespace tiervec::rdma {
namespace {

class MemoryRegionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("tiervec-region-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) {
    const std::filesystem::path path = folder_ / name;
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }

  template <class Open>
  void expect_refusal(const Open& open, const std::string& path, ErrorCode code) {
    try {
      (void)open(path);
      FAIL() << "accepted " << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
    }
  }

  std::filesystem::path folder_;
};

std::string text_of(const MemoryRegion& region) {
  return {reinterpret_cast<const char*>(region.data()), region.size_bytes()};
}

TEST_F(MemoryRegionTest, LoadAndMapGiveTheFile) {
  std::string text(20'000'003, ' ');  // several pieces, no whole page
  for (std::size_t i = 0; i < text.size(); ++i) {
    text[i] = static_cast<char>(i * 31 >> 3U);
  }
  const std::string path = write("region", text);
  EXPECT_EQ(text_of(MemoryRegion::load(path)), text);
  EXPECT_EQ(text_of(MemoryRegion::map(path)), text);
}

TEST_F(MemoryRegionTest, RefusesWhatIsNoRegion) {
  for (const auto& open : {MemoryRegion::load, MemoryRegion::map}) {
    expect_refusal(open, (folder_ / "absent").string(), ErrorCode::kNotFound);
    expect_refusal(open, folder_.string(), ErrorCode::kInvalidArgument);
    expect_refusal(open, write("empty", ""), ErrorCode::kDataLoss);
    const std::string pipe = (folder_ / "pipe").string();
    (void)::mkfifo(pipe.c_str(), 0600);
    expect_refusal(open, pipe, ErrorCode::kInvalidArgument);
  }
}

TEST_F(MemoryRegionTest, RefusesMoreThanThereIsMemory) {
  const std::string path = write("huge", "x");
  std::filesystem::resize_file(path, std::uintmax_t{1} << 42U);  // sparse
  expect_refusal(MemoryRegion::load, path, ErrorCode::kResourceExhausted);
}

TEST_F(MemoryRegionTest, CopiesMove) {
  const char text[] = "a region";
  MemoryRegion first = MemoryRegion::copy_of(std::as_bytes(std::span(text)));
  MemoryRegion second = std::move(first);
  EXPECT_EQ(first.data(), nullptr);
  EXPECT_EQ(std::memcmp(second.data(), text, sizeof text), 0);
  MemoryRegion third = MemoryRegion::copy_of(std::as_bytes(std::span("other")));
  third = std::move(second);
  EXPECT_EQ(third.size_bytes(), sizeof text);
  EXPECT_THROW(MemoryRegion::copy_of({}), Error);
}

}  // namespace
}  // namespace tiervec::rdma
