#include <tiervec/rdma/region_server.h>

#include <sys/resource.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include <tiervec/core/process.h>
#include <tiervec/core/status.h>

#include "../tcp/socket.h"
#include "reader_slots.h"
#include "region_table.h"
#include "server_loop.h"
#include "stranger.h"

namespace tiervec::rdma {

namespace {

/// The rest of the process, above all the control plane, needs descriptors too.
RegionServerLimits within_descriptors(RegionServerLimits limits) {
  rlimit descriptors{};
  if (::getrlimit(RLIMIT_NOFILE, &descriptors) == 0 && descriptors.rlim_cur != RLIM_INFINITY) {
    const auto share = [&](std::uint32_t wanted, rlim_t part) {
      return static_cast<std::uint32_t>(std::clamp<rlim_t>(descriptors.rlim_cur / part, 1, std::max(wanted, 1U)));
    };
    limits.max_connections = share(limits.max_connections, 2);
    limits.max_strangers = share(limits.max_strangers, 8);
  }
  const std::uint32_t most = limits.max_connections;
  const std::uint32_t wanted = limits.max_connections_per_address;
  limits.max_connections_per_address = wanted == 0 ? most - most / 4 : std::min(wanted, most);
  return limits;
}

}  // namespace

class RegionServer::State {
 public:
  State(const std::string& host, std::uint16_t port, unsigned threads, RegionServerLimits limits)
      : limits_(within_descriptors(limits)),
        slots_(limits_.max_connections, limits_.max_connections_per_address),
        listening_(listen_at(host, port)),
        port_(bound_port(listening_)) {
    if (threads == 0) {
      throw Error(ErrorCode::kInvalidArgument, "a region server needs at least 1 thread, got 0");
    }
    for (unsigned i = 0; i < threads; ++i) {
      loops_.push_back(std::make_unique<ServerLoop>(regions_, limits_));
    }
    for (unsigned i = 1; i < threads; ++i) {
      loops_[i]->start();
    }
    loops_[0]->start_accepting(listening_, slots_, [this](Greeted client) { admit(std::move(client)); });
  }

  [[nodiscard]] bool here() const noexcept { return origin_.here(); }
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }

  [[nodiscard]] Stats stats() const {
    Stats stats{.max_connections = slots_.limit(),
                .max_connections_per_address = slots_.limit_per_address(),
                .max_strangers = limits_.max_strangers};
    for (const auto& loop : loops_) {
      const ServerCounters& counters = loop->counters();
      stats.connections += loop->connections();
      stats.reads += counters.reads.load(std::memory_order_relaxed);
      stats.bytes += counters.bytes.load(std::memory_order_relaxed);
      stats.refused += counters.refused.load(std::memory_order_relaxed);
      stats.over_share += counters.over_share.load(std::memory_order_relaxed);
      stats.dropped += counters.dropped.load(std::memory_order_relaxed);
      stats.strangers += counters.strangers.load(std::memory_order_relaxed);
      stats.cut_turns += counters.cut_turns.load(std::memory_order_relaxed);
      stats.largest_turn_bytes =
          std::max(stats.largest_turn_bytes, counters.largest_turn_bytes.load(std::memory_order_relaxed));
      stats.cpu_seconds += loop->cpu_seconds();
    }
    return stats;
  }

  void serve(ServedRegion region) {
    const std::lock_guard lock(control_);
    if (stopped_) {
      throw Error(ErrorCode::kUnavailable, "region " + std::to_string(region.id) + " comes after the server's stop");
    }
    const std::uint64_t id = region.id;
    if (!regions_.add(std::move(region))) {
      throw Error(ErrorCode::kAlreadyExists, "region " + std::to_string(id) + " is served already");
    }
  }

  void withdraw(std::uint64_t id) {
    const std::lock_guard lock(control_);
    if (!regions_.remove(id)) {
      throw Error(ErrorCode::kNotFound, "region " + std::to_string(id) + " is not served here");
    }
    if (!stopped_) {
      // No connection finds the region any more; these are the ones that have.
      for (const auto& loop : loops_) {
        loop->close_region(id);
      }
    }
  }

  void close_listening() noexcept { listening_.reset(); }

  void stop() {
    const std::lock_guard lock(control_);
    stopped_ = true;
    for (const auto& loop : loops_) {  // the first one accepts: nothing comes to the others after it
      loop->stop();
    }
    listening_.reset();
  }

 private:
  // On the thread of the first loop, which lives as long as the others are needed. A client of a region that is
  // withdrawn meanwhile is closed: the first loop is asked to close the region's clients before the others are, and
  // what it hands on before that is in their lists of tasks by then. What it keeps itself must not go through its list.
  void admit(Greeted client) {
    const std::size_t at = next_++ % loops_.size();
    if (at == 0) {
      loops_[0]->add(std::move(client));
    } else {
      loops_[at]->adopt(std::move(client));
    }
  }

  const Origin origin_;
  const RegionServerLimits limits_;
  ReaderSlots slots_;
  RegionTable regions_;
  Descriptor listening_;
  std::uint16_t port_;
  std::size_t next_ = 0;
  std::mutex control_;  // serve, withdraw, stop: one at a time
  bool stopped_ = false;
  std::vector<std::unique_ptr<ServerLoop>> loops_;
};

RegionServer::RegionServer(const std::string& host, std::uint16_t port, unsigned threads, RegionServerLimits limits)
    : state_(std::make_unique<State>(host, port, threads, limits)) {}

RegionServer::~RegionServer() {
  if (!state_->here()) {
    // Its threads are the parent's, and may have been changing anything. What it listens at is only closed.
    state_->close_listening();
    [[maybe_unused]] const State* const left = state_.release();
    return;
  }
  stop();
}

std::uint16_t RegionServer::port() const noexcept {
  return state_->port();
}

RegionServer::Stats RegionServer::stats() const {
  check_here();
  return state_->stats();
}

void RegionServer::serve(std::uint64_t region_id, const AttachToken& token, std::shared_ptr<const NodeMemory> memory,
                         std::uint64_t offset, std::uint64_t size_bytes) {
  check_here();
  if (memory == nullptr || size_bytes == 0 || offset > memory->size_bytes() ||
      size_bytes > memory->size_bytes() - offset) {
    throw Error(ErrorCode::kInvalidArgument,
                "region " + std::to_string(region_id) + " of " + std::to_string(size_bytes) + " bytes at " +
                    std::to_string(offset) + " does not lie in a memory of " +
                    std::to_string(memory == nullptr ? 0 : memory->size_bytes()) + " bytes");
  }
  const std::byte* const data = memory->data() + offset;
  state_->serve({region_id, token, std::move(memory), data, size_bytes});
}

void RegionServer::withdraw(std::uint64_t region_id) {
  check_here();
  state_->withdraw(region_id);
}

void RegionServer::stop() {
  if (state_->here()) {
    state_->stop();
  }
}

void RegionServer::check_here() const {
  if (!state_->here()) {
    throw Error(ErrorCode::kUnsupported,
                "a region server serves in the process that started it, and not in one forked from that");
  }
}

}  // namespace tiervec::rdma
