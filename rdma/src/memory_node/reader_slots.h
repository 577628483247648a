#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <new>
#include <utility>

#include "peer_address.h"

namespace tiervec::rdma {

/// How many connections that showed a token a server holds at most, over all its loops: of all addresses, and of one.
/// From any thread; only coming and going takes the lock.
class ReaderSlots {
 public:
  enum class Room : std::uint8_t { kFree, kFull, kFullForAddress };

  /// A place of one connection; it gives the place back. Empty when there was none.
  class Slot {
   public:
    Slot() = default;
    Slot(Slot&& other) noexcept : slots_(std::exchange(other.slots_, nullptr)), address_(other.address_) {}
    Slot& operator=(Slot&& other) noexcept {
      std::swap(slots_, other.slots_);
      std::swap(address_, other.address_);
      return *this;
    }
    ~Slot() {
      if (slots_ != nullptr) {
        slots_->give_back(address_);
      }
    }
    [[nodiscard]] explicit operator bool() const noexcept { return slots_ != nullptr; }

   private:
    friend class ReaderSlots;
    Slot(ReaderSlots* slots, const PeerAddress& address) noexcept : slots_(slots), address_(address) {}
    ReaderSlots* slots_ = nullptr;
    PeerAddress address_;
  };

  ReaderSlots(std::uint32_t limit, std::uint32_t limit_per_address) noexcept
      : limit_(limit), limit_per_address_(limit_per_address) {}
  ReaderSlots(const ReaderSlots&) = delete;
  ReaderSlots& operator=(const ReaderSlots&) = delete;

  /// Empty when `room` has none, or the system no memory.
  [[nodiscard]] Slot take(const PeerAddress& address) noexcept {
    const std::lock_guard lock(mutex_);
    if (room_locked(address) != Room::kFree) {
      return {};
    }
    try {
      ++by_address_[address];
    } catch (const std::bad_alloc&) {
      return {};
    }
    ++taken_;
    return {this, address};
  }
  [[nodiscard]] Room room(const PeerAddress& address) const noexcept {
    const std::lock_guard lock(mutex_);
    return room_locked(address);
  }
  [[nodiscard]] std::uint32_t limit() const noexcept { return limit_; }
  [[nodiscard]] std::uint32_t limit_per_address() const noexcept { return limit_per_address_; }

 private:
  [[nodiscard]] Room room_locked(const PeerAddress& address) const noexcept {
    if (taken_ >= limit_) {
      return Room::kFull;
    }
    const auto held = by_address_.find(address);
    return held != by_address_.end() && held->second >= limit_per_address_ ? Room::kFullForAddress : Room::kFree;
  }
  void give_back(const PeerAddress& address) noexcept {
    const std::lock_guard lock(mutex_);
    --taken_;
    const auto held = by_address_.find(address);
    if (--held->second == 0) {
      by_address_.erase(held);
    }
  }

  const std::uint32_t limit_;
  const std::uint32_t limit_per_address_;
  mutable std::mutex mutex_;
  std::uint32_t taken_ = 0;
  std::map<PeerAddress, std::uint32_t> by_address_;
};

}  // namespace tiervec::rdma
