#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include <tiervec/rdma/attachment.h>
#include <tiervec/rdma/node_memory.h>

namespace tiervec::rdma {

/// What a connection reads from. It keeps the memory alive.
struct ServedRegion {
  std::uint64_t id = 0;
  AttachToken token{};
  std::shared_ptr<const NodeMemory> memory;
  const std::byte* data = nullptr;
  std::uint64_t size_bytes = 0;
};

/// The regions of a server by their id; from any thread. Looked at once for each connection, never for a read.
class RegionTable {
 public:
  /// False when the id is taken.
  bool add(ServedRegion region) {
    const std::lock_guard lock(mutex_);
    const std::uint64_t id = region.id;
    return regions_.try_emplace(id, std::make_shared<const ServedRegion>(std::move(region))).second;
  }
  /// False when the id is not there.
  bool remove(std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    return regions_.erase(id) > 0;
  }
  /// Null when the id is not there.
  [[nodiscard]] std::shared_ptr<const ServedRegion> find(std::uint64_t id) const {
    const std::lock_guard lock(mutex_);
    const auto found = regions_.find(id);
    return found == regions_.end() ? nullptr : found->second;
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::uint64_t, std::shared_ptr<const ServedRegion>> regions_;
};

}  // namespace tiervec::rdma
