#include <tiervec/core/process_limits.h>

#include <string>

#include <gtest/gtest.h>

#include "rdma/temporary_folder.h"

namespace tiervec {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

/// A machine in a folder: 100 MiB available, and the control groups that a test makes.
class FakeMachine {
 public:
  FakeMachine() {
    write("proc/meminfo", "MemTotal:  204800 kB\nMemFree:  1 kB\nMemAvailable:  102400 kB\nBuffers:  5 kB\n");
  }
  void write(const std::string& name, const std::string& text) { folder_.write(name, text); }
  void write_bytes(const std::string& name, std::uint64_t bytes) { write(name, std::to_string(bytes) + "\n"); }

  void in_version_2(const std::string& group, const std::string& mounted = "/") {
    write("proc/self/cgroup", "0::" + group + "\n");
    write("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/vda rw\n31 22 0:26 " + mounted +
                                     " /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
  }
  void in_version_1(const std::string& group, const std::string& mounted = "/") {
    write("proc/self/cgroup", "7:memory:" + group + "\n3:cpu,cpuacct:" + group + "\n1:name=systemd:/\n0::/\n");
    write("proc/self/mountinfo", "33 31 0:29 " + mounted +
                                     " /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n34 31 0:30 " + mounted +
                                     " /sys/fs/cgroup/cpu,cpuacct rw shared:4 - cgroup cgroup rw,cpu,cpuacct\n" +
                                     "35 31 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  }
  void memory_2(const std::string& group, const std::string& limit, std::uint64_t used, const std::string& stat = "") {
    const std::string folder = "sys/fs/cgroup" + group;
    write(folder + "/memory.max", limit + "\n");
    write_bytes(folder + "/memory.current", used);
    write(folder + "/memory.stat", stat);
  }

  [[nodiscard]] AvailableMemory memory() const { return available_memory(folder_.path("")); }
  [[nodiscard]] CpuLimit cpus() const { return cpu_limit(folder_.path("")); }

 private:
  rdma::testing::TemporaryFolder folder_;
};

std::string mib(std::uint64_t count) {
  return std::to_string(count * kMiB);
}

TEST(AvailableMemory, IsTheKernelsEstimateWithoutGroups) {
  const FakeMachine machine;
  EXPECT_EQ(machine.memory().bytes, 100 * kMiB);
  EXPECT_EQ(machine.memory().source, "/proc/meminfo");
}

TEST(AvailableMemory, OfThisMachineIsKnown) {
  EXPECT_GT(available_memory_bytes(), 0U);
  EXPECT_LT(available_memory_bytes(), AvailableMemory::kUnknown);
}

TEST(AvailableMemory, IsUnknownWithoutProc) {
  EXPECT_EQ(available_memory("/nonexistent").bytes, AvailableMemory::kUnknown);
  EXPECT_EQ(available_memory("/nonexistent").source, "");
}

TEST(AvailableMemory, EveryLevelLimits) {
  for (const std::string tight : {"", "/a", "/a/b"}) {
    FakeMachine machine;
    machine.in_version_2("/a/b");
    for (const std::string level : {"/a", "/a/b"}) machine.memory_2(level, "max", 0);
    machine.memory_2(tight, mib(30), 10 * kMiB);
    EXPECT_EQ(machine.memory().bytes, 20 * kMiB) << tight;
    EXPECT_EQ(machine.memory().source, "/sys/fs/cgroup" + tight + "/memory.max");
  }
}

TEST(AvailableMemory, HighIsALimitToo) {
  FakeMachine machine;
  machine.in_version_2("/a");
  machine.memory_2("/a", mib(30), 10 * kMiB);
  machine.write("sys/fs/cgroup/a/memory.high", mib(12) + "\n");
  EXPECT_EQ(machine.memory().bytes, 2 * kMiB);
  EXPECT_EQ(machine.memory().source, "/sys/fs/cgroup/a/memory.high");
}

TEST(AvailableMemory, ReclaimableCacheIsAvailable) {
  FakeMachine machine;
  machine.in_version_2("/a");
  const std::string stat = "anon " + mib(4) + "\nfile " + mib(20) + "\nshmem " + mib(2) + "\ninactive_anon 5\n" +
                           "inactive_file " + mib(9) + "\nactive_file " + mib(6) + "\nslab_reclaimable " + mib(1) +
                           "\n";
  machine.memory_2("/a", mib(30), 28 * kMiB, stat);
  EXPECT_EQ(machine.memory().bytes, (30 - 28 + 9 + 6 + 1) * kMiB);
  machine.memory_2("/a", mib(30), 40 * kMiB);  // beyond the limit, as after it was lowered
  EXPECT_EQ(machine.memory().bytes, 0U);
}

TEST(AvailableMemory, KnowsVersion1) {
  FakeMachine machine;
  machine.in_version_1("/docker/x");
  machine.write_bytes("sys/fs/cgroup/memory/memory.limit_in_bytes", 9223372036854771712U);
  machine.write_bytes("sys/fs/cgroup/memory/memory.usage_in_bytes", 150 * kMiB);
  machine.write_bytes("sys/fs/cgroup/memory/docker/memory.limit_in_bytes", 40 * kMiB);
  machine.write_bytes("sys/fs/cgroup/memory/docker/memory.usage_in_bytes", 38 * kMiB);
  machine.write("sys/fs/cgroup/memory/docker/memory.stat",
                "inactive_file 1\ntotal_inactive_file " + mib(3) + "\ntotal_active_file " + mib(4) + "\n");
  EXPECT_EQ(machine.memory().bytes, 9 * kMiB);
  EXPECT_EQ(machine.memory().source, "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes");
}

// A container without a name space of its own sees its whole path, but only its own part of the tree.
TEST(AvailableMemory, AContainerSeesItsGroupAtTheMount) {
  FakeMachine machine;
  machine.in_version_1("/docker/x", "/docker/x");
  machine.write_bytes("sys/fs/cgroup/memory/memory.limit_in_bytes", 7 * kMiB);
  machine.write_bytes("sys/fs/cgroup/memory/memory.usage_in_bytes", 2 * kMiB);
  EXPECT_EQ(machine.memory().bytes, 5 * kMiB);
  for (const std::string group : {"/../../other", "/elsewhere"}) {
    machine.in_version_2(group, "/docker/x");
    machine.memory_2("", mib(7), 3 * kMiB);
    EXPECT_EQ(machine.memory().bytes, 4 * kMiB) << group;
  }
}

TEST(AvailableMemory, DamagedFilesLimitNothing) {
  FakeMachine machine;
  machine.in_version_2("/a");
  for (const std::string limit : {"", "max", "12x", "-5", "99999999999999999999999"}) {
    machine.memory_2("/a", limit, 1);
    EXPECT_EQ(machine.memory().bytes, 100 * kMiB) << limit;
  }
  for (const std::string text : {"", "0", "0:", "::::", "0::nothing/", "\n\n0::/a\\134\n"}) {
    machine.write("proc/self/cgroup", text);
    machine.write("proc/self/mountinfo", text + " - " + text);
    EXPECT_EQ(machine.memory().bytes, 100 * kMiB) << text;
  }
}

TEST(CpuLimit, WithoutAQuotaIsTheAffinity) {
  FakeMachine machine;
  machine.in_version_2("/a");
  machine.write("sys/fs/cgroup/a/cpu.max", "max 100000\n");
  EXPECT_EQ(machine.cpus().quota_cpus, 0);
  EXPECT_EQ(machine.cpus().threads(), machine.cpus().allowed_cpus);
  EXPECT_GE(machine.cpus().threads(), 1U);
}

TEST(CpuLimit, EveryLevelLimits) {
  for (const std::string tight : {"", "/a", "/a/b"}) {
    FakeMachine machine;
    machine.in_version_2("/a/b");
    for (const std::string level : {"/a", "/a/b"}) {
      machine.write("sys/fs/cgroup" + level + "/cpu.max", "900000 100000\n");
    }
    machine.write("sys/fs/cgroup" + tight + "/cpu.max", "50000 100000\n");
    EXPECT_EQ(machine.cpus().quota_cpus, 0.5) << tight;
    EXPECT_EQ(machine.cpus().quota_source, "/sys/fs/cgroup" + tight + "/cpu.max");
    EXPECT_EQ(machine.cpus().threads(), 1U);
  }
}

TEST(CpuLimit, KnowsVersion1) {
  FakeMachine machine;
  machine.in_version_1("/x");
  machine.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  machine.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(machine.cpus().quota_cpus, 0);
  machine.write("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "250000\n");
  machine.write("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(machine.cpus().quota_cpus, 2.5);
  EXPECT_EQ(machine.cpus().quota_source, "/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us");
}

TEST(CpuLimit, AStartedCpuCounts) {
  const auto threads = [](unsigned allowed, double quota) {
    return CpuLimit{.allowed_cpus = allowed, .quota_cpus = quota, .quota_source = ""}.threads();
  };
  EXPECT_EQ(threads(16, 2.5), 3U);
  EXPECT_EQ(threads(16, 2), 2U);
  EXPECT_EQ(threads(16, 0.1), 1U);
  EXPECT_EQ(threads(2, 2.5), 2U);
  EXPECT_EQ(threads(16, 1e300), 16U);
  EXPECT_EQ(threads(16, 0), 16U);
}

}  // namespace
}  // namespace tiervec
