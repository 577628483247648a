// The tier on files: what it refuses, and what it does when a file changes under it.

#include <tiervec/rdma/ssd_tier.h>

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "rdma/temporary_folder.h"

namespace tiervec::rdma {
namespace {

class SsdTier : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    try {
      (void)open_tier(url(), region(4096));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kUnsupported) throw;
      GTEST_SKIP() << error.what();
    }
  }
  static std::string url() { return GetParam(); }
  std::string region(std::size_t bytes) { return folder_.write("region", std::string(bytes, 'x')); }

  static ErrorCode read(TierQueue& queue, Read read) {
    ReadBatch batch;
    batch.count = 1;
    batch.reads[0] = read;
    queue.submit(batch);
    queue.flush();
    ReadBatch* done = nullptr;
    while (queue.poll({&done, 1}) == 0) {
      queue.wait();
    }
    if (batch.error == ErrorCode::kOk) {
      EXPECT_EQ(static_cast<char>(batch.views[0][read.length - 1]), 'x');
      queue.release(batch);
    }
    return batch.error;
  }

  testing::TemporaryFolder folder_;
};

TEST_P(SsdTier, AFileCutShortIsDataLoss) {
  const std::string path = region(10 * 4096 + 100);
  const auto tier = open_tier(url(), path);
  const auto queue = tier->open_queue(4);
  EXPECT_EQ(read(*queue, {10 * 4096, 100}), ErrorCode::kOk);
  std::filesystem::resize_file(path, 5 * 4096 + 50);
  EXPECT_EQ(read(*queue, {10 * 4096, 100}), ErrorCode::kDataLoss);
  EXPECT_EQ(read(*queue, {5 * 4096, 100}), ErrorCode::kDataLoss);
  EXPECT_EQ(read(*queue, {5 * 4096 - 10, 60}), ErrorCode::kOk);
}

TEST_P(SsdTier, MeasuresItsDevice) {
  const auto tier = open_tier(url(), region(1 << 20));
  const DeviceProfile profile = tier->profile();
  EXPECT_EQ(profile.source, "measured");
  EXPECT_EQ(profile.block_bytes, 4096U);
  EXPECT_FALSE(profile.emulated);
  EXPECT_FALSE(tier->verified_at_open());
  const bool by_threads = url() == "ssd:threads" || !io_uring_status().available;
  EXPECT_EQ(profile.note.find("pool of threads") != std::string::npos, by_threads) << profile.note;
}

TEST_P(SsdTier, CountsReadsAndSectors) {
  const auto tier = open_tier(url(), region(10 * 4096));
  const auto count = [&](const std::string& name) {
    for (const TierCounter& counter : tier->counters()) {
      if (counter.name == name) return counter.value;
    }
    return ~std::uint64_t{0};
  };
  const std::uint64_t reads = count("reads");
  const std::uint64_t sectors = count("sectors");
  const auto queue = tier->open_queue(4);
  EXPECT_EQ(read(*queue, {4000, 200}), ErrorCode::kOk);
  EXPECT_EQ(count("reads"), reads + 1);
  EXPECT_EQ(count("sectors"), sectors + 2);
}

INSTANTIATE_TEST_SUITE_P(Readers, SsdTier, ::testing::Values("ssd:", "ssd:threads"),
                         [](const auto& reader) { return reader.index == 0 ? "default" : "threads"; });

/// The right to lock memory without a limit, which root usually has; false when it could not be given up.
bool may_lock_without_limit(bool give_up) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2] = {};
  EXPECT_EQ(::syscall(SYS_capget, &header, sets), 0);
  constexpr std::uint32_t kRight = 1U << CAP_IPC_LOCK;
  if (give_up) {
    sets[0].effective &= ~kRight;
    EXPECT_EQ(::syscall(SYS_capset, &header, sets), 0);
  }
  return (sets[0].effective & kRight) != 0;
}

/// The note of a tier in a child that may lock 64 KiB; "unsupported" where there is no io_uring.
std::string note_with_little_to_lock(const std::string& path) {
  const rlimit limit{64U << 10U, 64U << 10U};
  if (::setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || may_lock_without_limit(true)) {
    return "the limit could not be set";
  }
  if (!io_uring_status().available) {
    return "unsupported";
  }
  // The limit is that of a user: processes beside this one may leave nothing for a ring for a while.
  for (int left = 100;; --left) {
    try {
      return open_tier("ssd:", path)->profile().note;
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kUnsupported) return "unsupported";
      if (error.code() != ErrorCode::kResourceExhausted || left == 0) return error.what();
      ::usleep(100'000);
    }
  }
}

TEST(SsdNote, SaysThatTheKernelDoesNotKeepTheBuffers) {
  testing::TemporaryFolder folder;
  const std::string path = folder.write("region", std::string(1 << 20, 'x'));
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string note = note_with_little_to_lock(path);
    ::_exit(::write(ends[1], note.data(), note.size()) < 0 ? 1 : 0);
  }
  ::close(ends[1]);
  char text[1024] = {};
  const ssize_t got = ::read(ends[0], text, sizeof(text) - 1);
  ::close(ends[0]);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  if (std::string(text) == "unsupported") {
    GTEST_SKIP() << "no io_uring or no O_DIRECT here";
  }
  ASSERT_GT(got, 0) << "no note";
  EXPECT_NE(std::string(text).find("may lock 64 KiB of memory, ulimit -l"), std::string::npos) << text;
  if (may_lock_without_limit(false)) {
    EXPECT_EQ(open_tier("ssd:", path)->profile().note, "");
  }
}

TEST(SsdUrl, TakesNothingOrThreads) {
  EXPECT_EQ(parse_ssd_reads(parse_tier_url("ssd:")), SsdReads::kIoUring);
  EXPECT_EQ(parse_ssd_reads(parse_tier_url("ssd:threads")), SsdReads::kThreads);
  for (const char* url : {"ssd:/dev/sda", "ssd:thread", "ssd: "}) {
    try {
      (void)parse_tier_url(url);
      ADD_FAILURE() << url;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(error.what()).find(url), std::string::npos) << error.what();
    }
  }
}

TEST(SsdFileSystem, MemoryIsRefusedInOneSentence) {
  const std::string path = "/dev/shm/tiervec-ssd-test-" + std::to_string(::getpid());
  struct statfs system{};
  if (::statfs("/dev/shm", &system) != 0 || system.f_type != 0x01021994) {
    GTEST_SKIP() << "/dev/shm is no tmpfs here";
  }
  const int file = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  ASSERT_GE(file, 0);
  EXPECT_EQ(::write(file, "x", 1), 1);
  ::close(file);
  try {
    (void)open_tier("ssd:", path);
    ADD_FAILURE() << "it opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_NE(std::string(error.what()).find("tmpfs"), std::string::npos) << error.what();
  }
  ::unlink(path.c_str());
}

TEST(IoUring, SaysWhyItIsNotThere) {
  const IoUringStatus status = io_uring_status();
  EXPECT_EQ(status.available, status.reason.empty()) << status.reason;
}

}  // namespace
}  // namespace tiervec::rdma
