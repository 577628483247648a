#include <tiervec/rdma/ssd_tier.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>

#include <tiervec/core/huge_buffer.h>
#include <tiervec/core/status.h>
#include <tiervec/core/tick_clock.h>
#include <tiervec/rdma/measure.h>

#include "../region_file.h"
#include "sector_reader.h"
#include "sectors.h"
#include "ssd_queue.h"

namespace tiervec::rdma {

namespace {

using ssd::kSectorBytes;

constexpr long kTmpfs = 0x01021994;
constexpr long kRamfs = 0x858458f6;
constexpr std::uint32_t kMeasuredDepth = ReadBatch::kMaxReads;
constexpr std::uint32_t kDeepest = 1024;
constexpr std::uint32_t kLargeReadBytes = 64 * 1024;

// Typical of a drive of a server, until this one is measured.
DeviceProfile nominal_profile() {
  return {.latency_us = 90, .reads_per_s = 500e3, .bytes_per_s = 3e9, .block_bytes = kSectorBytes};
}

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
  throw Error(ErrorCode::kUnsupported, "region file '" + path + "' cannot be read past the page cache: " + why +
                                           "; put the index on a disk, or open it on mmap:");
}

/// Makes reads of the file go past the page cache, or says why they do not.
void read_directly(const RegionFile& file, const std::string& path) {
  struct statfs system{};
  if (::fstatfs(file.descriptor(), &system) == 0 && (system.f_type == kTmpfs || system.f_type == kRamfs)) {
    refuse(path, "its file system is memory (tmpfs)");
  }
  if (::fcntl(file.descriptor(), F_SETFL, O_DIRECT) != 0) {
    refuse(path, "its file system has no O_DIRECT (" + std::generic_category().message(errno) + ")");
  }
  // Some take the flag and refuse the reads, or have larger sectors.
  HugeBuffer sector(kSectorBytes);
  if (::pread(file.descriptor(), sector.as<std::byte>(), kSectorBytes, 0) < 0 && errno == EINVAL) {
    refuse(path, "its file system does not read sectors of " + std::to_string(kSectorBytes) + " bytes directly");
  }
}

/// What it means that the kernel refused to keep the pages of a queue's buffers.
std::string unregistered_note(int error) {
  std::string note = "the kernel does not keep io_uring's buffers (" + std::generic_category().message(error);
  rlimit limit{};
  if (error == ENOMEM && ::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    note += "; this process may lock " + std::to_string(limit.rlim_cur >> 10U) + " KiB of memory, ulimit -l";
  }
  return note + ") and finds the pages of every read anew, which takes more CPU time";
}

class SsdTier final : public Tier {
 public:
  SsdTier(std::string url, SsdReads reads, const std::string& path) : url_(std::move(url)), file_(path), reads_(reads) {
    read_directly(file_, path);
    if (reads_ == SsdReads::kThreads) {
      profile_.note = "read by a pool of threads (pread), as asked for";
    } else if (const IoUringStatus status = io_uring_status(); !status.available) {
      reads_ = SsdReads::kThreads;
      profile_.note = "read by a pool of threads (pread) instead of io_uring: " + status.reason;
    }
  }

  [[nodiscard]] std::string url() const override { return url_; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return file_.size_bytes(); }
  [[nodiscard]] DeviceProfile profile() const override {
    DeviceProfile profile = profile_;
    if (const int error = registration_error_.load(std::memory_order_relaxed); error != 0) {
      profile.note = unregistered_note(error);
    }
    return profile;
  }
  [[nodiscard]] bool verified_at_open() const noexcept override { return false; }
  [[nodiscard]] std::vector<TierCounter> counters() const override {
    return {{"reads", counters_.reads}, {"sectors", counters_.sectors}, {"flushes", counters_.flushes}};
  }

  void measure();

 private:
  [[nodiscard]] std::unique_ptr<TierQueue> make_queue(const QueueLimits& limits) override {
    const std::uint32_t depth = std::clamp(2 * reads_in_flight(profile_), ReadBatch::kMaxReads, kDeepest);
    return std::make_unique<ssd::SsdQueue>(
        ssd::SsdQueueSetup{shared_from_this(), &counters_, file_.size_bytes(), depth}, limits,
        [this](std::span<std::byte> buffers, std::uint32_t most) {
          const ssd::ReaderSetup setup{file_.descriptor(), buffers, most};
          auto reader = reads_ == SsdReads::kIoUring ? ssd::make_uring_reader(setup) : ssd::make_thread_reader(setup);
          if (const int error = reader->registration_error(); error != 0) {
            registration_error_.store(error, std::memory_order_relaxed);
          }
          return reader;
        });
  }

  std::string url_;
  RegionFile file_;
  SsdReads reads_;
  DeviceProfile profile_ = nominal_profile();
  std::atomic<int> registration_error_ = 0;  // of any queue so far; queues are opened by several threads
  mutable ssd::SsdCounters counters_;
};

// Measures one queue: what one worker can get from the device now. A read failing here fails the opening.
void SsdTier::measure() {
  const auto reads_per_s = [&](std::uint32_t bytes, std::uint32_t in_flight) {
    return measure_reads_per_s(*this,
                               {.read_bytes = bytes, .threads = 1, .reads_in_flight = in_flight, .seconds = 0.03});
  };
  const auto small = static_cast<std::uint32_t>(std::min<std::uint64_t>(64, size_bytes()));
  const auto large = static_cast<std::uint32_t>(std::min<std::uint64_t>(kLargeReadBytes, size_bytes()));
  const std::vector<double> latency_ns = measure_latency_ns(*this, small, 101, 1);
  const double small_per_s = reads_per_s(small, kMeasuredDepth);
  take_measured(profile_, latency_ns[latency_ns.size() / 2] * 1e-3, small_per_s,
                std::max(reads_per_s(large, 32) * large, small_per_s * small));
}

}  // namespace

SsdReads parse_ssd_reads(const TierUrl& url) {
  if (url.rest.empty()) {
    return SsdReads::kIoUring;
  }
  if (url.rest == "threads") {
    return SsdReads::kThreads;
  }
  throw Error(ErrorCode::kInvalidArgument,
              "tier URL '" + url.text + "' has '" + url.rest + "' after 'ssd:', which takes nothing, or 'threads'");
}

void check_direct_reads(const std::string& region_path) {
  read_directly(RegionFile(region_path), region_path);
}

std::shared_ptr<Tier> open_ssd_tier(const TierUrl& url, const std::string& region_path) {
  (void)TickClock::ticks_per_ns();  // calibrates now rather than in the first query
  auto tier = std::make_shared<SsdTier>(url.text, parse_ssd_reads(url), region_path);
  tier->measure();
  return tier;
}

}  // namespace tiervec::rdma
