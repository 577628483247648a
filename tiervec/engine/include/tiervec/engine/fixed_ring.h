#pragma once

#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace tiervec::engine {

/// First in, first out, for trivially copyable items of one thread. Never grows: the owner knows its bound.
template <class T>
class FixedRing {
 public:
  explicit FixedRing(std::uint32_t capacity)
      : mask_(std::bit_ceil(capacity < 1 ? 1U : capacity) - 1), items_(std::make_unique<T[]>(mask_ + std::size_t{1})) {}

  [[nodiscard]] bool empty() const noexcept { return head_ == tail_; }
  [[nodiscard]] std::uint32_t size() const noexcept { return tail_ - head_; }
  void push(T item) noexcept {
    assert(size() <= mask_);
    items_[tail_++ & mask_] = item;
  }
  [[nodiscard]] T front() const noexcept { return items_[head_ & mask_]; }
  T pop() noexcept {
    assert(!empty());
    return items_[head_++ & mask_];
  }

 private:
  std::uint32_t mask_;
  std::uint32_t head_ = 0;  // both run freely; their difference is the size
  std::uint32_t tail_ = 0;
  std::unique_ptr<T[]> items_;
};

}  // namespace tiervec::engine
