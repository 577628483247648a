#include <tiervec/rdma/dax_tier.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <tiervec/rdma/dax_device.h>

#include "../../rdma/src/dax/cache_lines.h"
#include "../../rdma/src/dax/dax_header.h"
#include "rdma/temporary_folder.h"

namespace tiervec::rdma {
namespace {

using testing::TemporaryFolder;

constexpr std::uint64_t kChecksum = 0x0123456789abcdef;

template <class Act>
Error refusal_of(const Act& act) {
  try {
    act();
  } catch (const Error& error) {
    return error;
  }
  return {ErrorCode::kOk, "accepted"};
}

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string text_of(const DaxTier& tier) {
  return {reinterpret_cast<const char*>(tier.bytes().data()), tier.bytes().size()};
}

class DaxTest : public ::testing::Test {
 protected:
  void SetUp() override {
    region_path_ = folder_.write("region", region_);
    place_ = {"dax:" + folder_.path("place"), folder_.path("place"), false};
    overwrite_ = {place_.url + "?overwrite", place_.path, true};
  }

  void load_completely(const std::string& name = "an index") const {
    DaxTier::load(place_, region_path_)->complete(kChecksum, name);
  }
  [[nodiscard]] std::shared_ptr<DaxTier> attach() const { return DaxTier::attach(place_, region_.size(), kChecksum); }
  [[nodiscard]] Error attach_refusal() const {
    return refusal_of([&] { (void)attach(); });
  }
  [[nodiscard]] Error load_refusal() const {
    return refusal_of([&] { (void)DaxTier::load(place_, region_path_); });
  }
  /// Writes over the place, from `at` on.
  void harm(std::uint64_t at, const std::string& bytes) const {
    std::fstream file(place_.path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(at));
    file << bytes;
  }

  TemporaryFolder folder_;
  std::string region_ = [] {
    std::string text(100'003, ' ');
    for (std::size_t i = 0; i < text.size(); ++i) {
      text[i] = static_cast<char>(i * 31 >> 3U);
    }
    return text;
  }();
  std::string region_path_;
  DaxPlace place_;
  DaxPlace overwrite_;
};

TEST_F(DaxTest, ACompleteRegionIsFoundAgainWithoutItsFile) {
  EXPECT_EQ(attach(), nullptr);
  load_completely();
  std::filesystem::remove(region_path_);
  const std::shared_ptr<DaxTier> first = attach();
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(text_of(*first), region_);
  EXPECT_FALSE(first->verified_at_open());
  EXPECT_EQ(first->url(), place_.url);
  const std::shared_ptr<DaxTier> second = DaxTier::attach(overwrite_, region_.size(), kChecksum);
  ASSERT_NE(second, nullptr) << "overwrite is for something else; and readers share";
  EXPECT_EQ(text_of(*second), region_);
}

TEST_F(DaxTest, AttachingDoesNotReadTheRegion) {
  load_completely();
  harm(DaxHeader::kBytes + 50'000, "other bytes");
  const std::shared_ptr<DaxTier> tier = attach();
  ASSERT_NE(tier, nullptr);
  EXPECT_NE(text_of(*tier), region_);
}

TEST_F(DaxTest, ARegionThatWasNotCompletedIsNotFoundAndMayBeLoadedAgain) {
  {
    const std::shared_ptr<DaxTier> tier = DaxTier::load(place_, region_path_);
    EXPECT_EQ(text_of(*tier), region_);
  }
  EXPECT_EQ(attach(), nullptr);
  load_completely();
  EXPECT_NE(attach(), nullptr);
}

TEST_F(DaxTest, ACrashAtAnyMomentOfLoadingLeavesNothingThatLooksComplete) {
  load_completely("first");
  const std::string before = content_of(place_.path);
  std::filesystem::resize_file(place_.path, 0);
  load_completely("second");
  const std::string after = content_of(place_.path);
  // All but the state may have reached the medium, in any part, when the crash comes.
  for (const std::uint64_t written : {std::uint64_t{8}, std::uint64_t{20}, std::uint64_t{100}, DaxHeader::kBytes,
                                      DaxHeader::kBytes + 5000, std::uint64_t{after.size()}}) {
    std::string torn(after.size(), '\0');
    std::copy_n(after.begin(), written, torn.begin());
    std::fill_n(torn.begin() + 8, 8, '\0');
    folder_.write("place", torn);
    EXPECT_EQ(attach(), nullptr) << written;
    EXPECT_EQ(load_refusal().code(), ErrorCode::kOk) << written;
  }
  EXPECT_EQ(before.size(), after.size());
}

TEST_F(DaxTest, AnotherRegionIsNotReplacedUnlessAsked) {
  load_completely("sift");
  const std::string kept = content_of(place_.path);
  for (const Error& error : {load_refusal(), refusal_of([&] { (void)DaxTier::attach(place_, region_.size(), 7); }),
                             refusal_of([&] { (void)DaxTier::attach(place_, 7, kChecksum); })}) {
    EXPECT_EQ(error.code(), ErrorCode::kAlreadyExists);
    const std::string what = error.what();
    EXPECT_NE(what.find(place_.url + " holds another region, 'sift' of 100003 bytes, written 20"), std::string::npos)
        << what;
    EXPECT_NE(what.find("to replace that region open " + place_.url + "?overwrite once"), std::string::npos) << what;
  }
  EXPECT_EQ(content_of(place_.path), kept);
  const std::string small = folder_.write("small", "a small region");
  EXPECT_EQ(DaxTier::attach(overwrite_, 14, 7), nullptr);
  DaxTier::load(overwrite_, small)->complete(7, "small");
  const std::shared_ptr<DaxTier> tier = DaxTier::attach(place_, 14, 7);
  ASSERT_NE(tier, nullptr);
  EXPECT_EQ(text_of(*tier), "a small region");
}

TEST_F(DaxTest, WhatTierVecDidNotWriteIsLeftAlone) {
  std::string late(5000, '\0');
  late[4095] = 'x';
  for (const std::string& foreign : {std::string("x"), std::string("\0\0x", 3), std::string(10'000, 'x'), late,
                                     std::string("TVECDAX2") + std::string(10'000, '\0')}) {
    folder_.write("place", foreign);
    for (const Error& error : {attach_refusal(), load_refusal()}) {
      EXPECT_EQ(error.code(), ErrorCode::kAlreadyExists);
      EXPECT_NE(std::string(error.what()).find("holds what TierVec did not write"), std::string::npos) << error.what();
    }
    EXPECT_EQ(content_of(place_.path), foreign);
    DaxTier::load(overwrite_, region_path_)->complete(kChecksum, "x");
    EXPECT_NE(attach(), nullptr) << "overwrite is the explicit step";
  }
  for (const std::string& zeros : {std::string(), std::string(100, '\0'), std::string(300'000, '\0')}) {
    folder_.write("place", zeros);
    EXPECT_EQ(attach(), nullptr);
    load_completely();
    EXPECT_NE(attach(), nullptr);
  }
}

TEST_F(DaxTest, ADamagedHeaderIsNoticed) {
  load_completely();
  const std::string kept = content_of(place_.path);
  for (std::uint64_t at = 8; at < sizeof(DaxHeader); ++at) {
    std::string flipped(1, static_cast<char>(kept[at] ^ 4));
    harm(at, flipped);
    const ErrorCode code = attach_refusal().code();
    EXPECT_TRUE(code == ErrorCode::kDataLoss || code == ErrorCode::kUnsupported) << at << " " << error_code_name(code);
    harm(at, kept.substr(at, 1));
  }
  EXPECT_NE(attach(), nullptr);
  harm(offsetof(DaxHeader, format_version), "\2");
  EXPECT_EQ(std::string(attach_refusal().what()),
            place_.url + " holds a region of format 2; this version reads up to 1: upgrade tiervec");
}

TEST_F(DaxTest, AFileThatWasCutShortIsNoticed) {
  load_completely();
  std::filesystem::resize_file(place_.path, DaxHeader::kBytes + 100);
  const Error error = attach_refusal();
  EXPECT_EQ(error.code(), ErrorCode::kDataLoss);
  EXPECT_NE(std::string(error.what()).find("cut short"), std::string::npos) << error.what();
}

TEST_F(DaxTest, AnyHeaderIsParsedSafely) {
  load_completely();
  const std::string right = content_of(place_.path).substr(0, DaxHeader::kBytes);
  std::mt19937_64 random(5);
  for (int round = 0; round < 3000; ++round) {
    std::string page = right;
    for (std::uint64_t changes = 1 + random() % 6; changes > 0; --changes) {
      page[round % 2 == 0 ? random() % sizeof(DaxHeader) : 16 + random() % 40] = static_cast<char>(random());
    }
    page.resize(round % 10 == 0 ? random() % page.size() : page.size());
    DaxHeader header;
    const std::uint64_t size_bytes = random() % 200'000;
    const DaxState state = parse_dax_header(std::as_bytes(std::span(page)), size_bytes, header);
    if (state == DaxState::kComplete) {
      EXPECT_LE(header.region_bytes + DaxHeader::kBytes, size_bytes);
    }
    (void)header.name_text();
  }
}

TEST_F(DaxTest, NamesAreCutAndMadePrintable) {
  load_completely(std::string(200, 'n') + "\n");
  EXPECT_NE(attach(), nullptr);
  EXPECT_NE(std::string(load_refusal().what()).find("'" + std::string(128, 'n') + "' of"), std::string::npos);
  DaxTier::load(overwrite_, region_path_)->complete(kChecksum, "a\x1b[31m\n");
  EXPECT_NE(std::string(load_refusal().what()).find("'a?[31m?' of"), std::string::npos);
}

TEST_F(DaxTest, OneWriterOrManyReaders) {
  {
    const std::shared_ptr<DaxTier> loading = DaxTier::load(place_, region_path_);
    EXPECT_EQ(attach_refusal().code(), ErrorCode::kUnavailable);
    EXPECT_EQ(std::string(attach_refusal().what()), place_.path + " is being loaded by another process");
    EXPECT_EQ(std::string(load_refusal().what()), place_.path + " is in use by another process");
    loading->complete(kChecksum, "x");
    EXPECT_NE(attach(), nullptr) << "the loader is a reader now";
    const Error error = refusal_of([&] { (void)DaxTier::load(overwrite_, region_path_); });
    EXPECT_EQ(error.code(), ErrorCode::kUnavailable) << "never under a reader";
  }
  EXPECT_EQ(refusal_of([&] { (void)DaxTier::load(overwrite_, region_path_); }).code(), ErrorCode::kOk);
}

TEST_F(DaxTest, PlacesThatAreNone) {
  const auto refused = [&](const std::string& path) {
    const DaxPlace place{"dax:" + path, path, false};
    const Error loading = refusal_of([&] { (void)DaxTier::load(place, region_path_); });
    const Error attaching = refusal_of([&] { (void)DaxTier::attach(place, 1, 1); });
    EXPECT_NE(std::string(loading.what()).find(path), std::string::npos) << loading.what();
    EXPECT_TRUE(attaching.code() == loading.code() || attaching.code() == ErrorCode::kOk) << attaching.what();
    return loading;
  };
  const Error no_device = refused("/dev/dax99.9");
  EXPECT_EQ(no_device.code(), ErrorCode::kNotFound);
  EXPECT_NE(std::string(no_device.what()).find("DAX device"), std::string::npos) << no_device.what();
  EXPECT_FALSE(std::filesystem::exists("/dev/dax99.9"));
  const Error not_dax = refused("/dev/null");
  EXPECT_EQ(not_dax.code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(std::string(not_dax.what()).find("is neither a DAX device nor a regular file"), std::string::npos);
  EXPECT_EQ(refused(folder_.path("")).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(refused(folder_.path("absent/place")).code(), ErrorCode::kNotFound);
  (void)::mkfifo(folder_.path("pipe").c_str(), 0600);
  EXPECT_EQ(refused(folder_.path("pipe")).code(), ErrorCode::kInvalidArgument);
}

TEST_F(DaxTest, RegionsThatAreNoneCreateNoFile) {
  EXPECT_EQ(refusal_of([&] { (void)DaxTier::load(place_, folder_.path("absent")); }).code(), ErrorCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(place_.path));
}

TEST_F(DaxTest, AFullDiskIsARefusal) {
  const std::string huge = folder_.write("huge", "x");
  std::filesystem::resize_file(huge, std::uintmax_t{1} << 43U);  // sparse
  const Error error = refusal_of([&] { (void)DaxTier::load(place_, huge); });
  EXPECT_EQ(error.code(), ErrorCode::kDiskFull) << error.what();
  EXPECT_EQ(attach(), nullptr) << "the place is free as before";
}

TEST_F(DaxTest, SaysThatAFileIsNotOnDax) {
  const std::string note = DaxTier::load(place_, region_path_)->profile().note;
  // Whatever file system the tests run on: without DAX it has to be said.
  EXPECT_TRUE(note.empty() ||
              note == place_.path + " is not on DAX: reads go through the page cache, as those of mmap: do");
}

// What is on the device is lost.
TEST_F(DaxTest, OnADevice) {
  const char* const device = std::getenv("TIERVEC_TEST_DAX");
  if (device == nullptr) {
    GTEST_SKIP() << "TIERVEC_TEST_DAX names no DAX device";
  }
  place_ = {std::string("dax:") + device, device, false};
  overwrite_ = {place_.url + "?overwrite", device, true};
  EXPECT_EQ(text_of(*DaxTier::load(overwrite_, region_path_)), region_);
  EXPECT_EQ(attach(), nullptr) << "it was not completed";
  load_completely("on a device");
  const std::shared_ptr<DaxTier> tier = attach();
  ASSERT_NE(tier, nullptr);
  EXPECT_EQ(text_of(*tier), region_);
  EXPECT_EQ(tier->profile().note, "") << "loads go to the device";
  EXPECT_EQ(refusal_of([&] { (void)DaxTier::load(overwrite_, region_path_); }).code(), ErrorCode::kUnavailable);
  EXPECT_EQ(refusal_of([&] { (void)DaxTier::attach(place_, 7, 7); }).code(), ErrorCode::kAlreadyExists);
}

TEST_F(DaxTest, ARegionLargerThanTheDevice) {
  const char* const device = std::getenv("TIERVEC_TEST_DAX");
  if (device == nullptr) {
    GTEST_SKIP() << "TIERVEC_TEST_DAX names no DAX device";
  }
  const std::string huge = folder_.write("huge", "x");
  std::filesystem::resize_file(huge, std::uintmax_t{1} << 43U);  // sparse
  const Error error =
      refusal_of([&] { (void)DaxTier::load({std::string("dax:") + device + "?overwrite", device, true}, huge); });
  EXPECT_EQ(error.code(), ErrorCode::kResourceExhausted);
  EXPECT_NE(std::string(error.what()).find("the region and its header need 8388609 MiB"), std::string::npos)
      << error.what();
}

TEST(DaxPlace, IsAPathAndAnOption) {
  const auto parse = [](const std::string& rest) { return parse_dax_place({"dax:" + rest, "dax", rest}); };
  EXPECT_EQ(parse("/dev/dax0.0").path, "/dev/dax0.0");
  EXPECT_FALSE(parse("/dev/dax0.0").overwrite);
  EXPECT_EQ(parse("a?b?overwrite").path, "a?b");
  EXPECT_TRUE(parse("a?b?overwrite").overwrite);
  for (const std::string rest : {"", "?overwrite", "/dev/dax0.0?", "/dev/dax0.0?format", "x?overwrite "}) {
    EXPECT_EQ(refusal_of([&] { (void)parse(rest); }).code(), ErrorCode::kInvalidArgument) << rest;
  }
}

TEST(DaxDevices, ReadsWhatTheKernelTells) {
  const TemporaryFolder sysfs;
  sysfs.write("dax1.0/size", "1071644672\n");
  sysfs.write("dax1.0/align", "2097152\n");
  sysfs.write("dax1.0/target_node", "2\n");
  sysfs.write("dax0.0/size", "4096\n");
  sysfs.write("dax2.0/size", "0\n");
  sysfs.write("dax3.0/size", "4096\n");
  sysfs.write("dax3.0/align", "0\n");
  sysfs.write("dax4.0/size", "nonsense\n");
  const std::vector<DaxDevice> devices = dax_devices(sysfs.path(""));
  ASSERT_EQ(devices.size(), 2U);
  EXPECT_EQ(devices[0].name, "dax0.0");
  EXPECT_EQ(devices[0].align_bytes, 2U << 20U);
  EXPECT_EQ(devices[0].node, -1);
  EXPECT_EQ(devices[1].size_bytes, 1071644672U);
  EXPECT_EQ(devices[1].node, 2);
  EXPECT_TRUE(dax_devices(sysfs.path("absent")).empty());
}

TEST(CacheLines, AreWrittenBackWithoutHarm) {
  if (!can_write_back_cache_lines()) {
    GTEST_SKIP() << "only on x86-64";
  }
  std::vector<std::byte> bytes(10'000, std::byte{7});
  write_back_cache_lines(bytes.data() + 3, bytes.size() - 3);
  write_back_cache_lines(bytes.data(), 0);
  EXPECT_EQ(bytes, std::vector<std::byte>(10'000, std::byte{7}));
}

}  // namespace
}  // namespace tiervec::rdma
