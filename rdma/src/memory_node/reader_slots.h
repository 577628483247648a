#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace tiervec::rdma {

/// How many connections that showed a token a server holds at most, over all its loops. From any thread.
class ReaderSlots {
 public:
  /// A place of one connection; it gives the place back. Empty when there was none.
  class Slot {
   public:
    Slot() = default;
    Slot(Slot&& other) noexcept : slots_(std::exchange(other.slots_, nullptr)) {}
    Slot& operator=(Slot&& other) noexcept {
      std::swap(slots_, other.slots_);
      return *this;
    }
    ~Slot() {
      if (slots_ != nullptr) {
        slots_->taken_.fetch_sub(1, std::memory_order_relaxed);
      }
    }
    [[nodiscard]] explicit operator bool() const noexcept { return slots_ != nullptr; }

   private:
    friend class ReaderSlots;
    explicit Slot(ReaderSlots* slots) noexcept : slots_(slots) {}
    ReaderSlots* slots_ = nullptr;
  };

  explicit ReaderSlots(std::uint32_t limit) noexcept : limit_(limit) {}
  ReaderSlots(const ReaderSlots&) = delete;
  ReaderSlots& operator=(const ReaderSlots&) = delete;

  [[nodiscard]] Slot take() noexcept {
    if (taken_.fetch_add(1, std::memory_order_relaxed) < limit_) {
      return Slot(this);
    }
    taken_.fetch_sub(1, std::memory_order_relaxed);
    return {};
  }
  [[nodiscard]] bool full() const noexcept { return taken_.load(std::memory_order_relaxed) >= limit_; }
  [[nodiscard]] std::uint32_t limit() const noexcept { return limit_; }

 private:
  const std::uint32_t limit_;
  std::atomic<std::uint32_t> taken_{0};
};

}  // namespace tiervec::rdma
