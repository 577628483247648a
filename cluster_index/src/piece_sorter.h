#pragma once

// Sorting of what a query wants to read. A query of some hundred addresses spends more time in comparisons whose
// outcome nobody can predict than in the rest of its list; counting digits has none.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace tiervec::cluster_index {

/// Records side by side: positions, or records of one posting.
struct Piece {
  std::uint32_t first = 0;
  std::uint32_t end = 0;
};

/// Sorts pieces by their first positions, and counts digits while they come in. On the stack of whoever lists them, so
/// that the counts are in the caches.
class PieceSorter {
 public:
  /// For positions below 2^bits. `room` and `spare` have room for all pieces to come; borrowed.
  PieceSorter(Piece* room, Piece* spare, unsigned bits) noexcept
      : room_(room),
        spare_(spare),
        digits_(bits <= 2 * kMostDigitBits ? 2 : 3),
        digit_bits_(std::max(1U, (bits + digits_ - 1) / digits_)),
        mask_((1U << digit_bits_) - 1) {
    for (unsigned digit = 0; digit < digits_; ++digit) std::fill_n(starts_[digit], mask_ + 1, 0U);
  }

  void add(Piece piece) noexcept {
    room_[count_++] = piece;
    ++starts_[0][piece.first & mask_];
    ++starts_[1][(piece.first >> digit_bits_) & mask_];
    if (digits_ > 2) ++starts_[2][(piece.first >> (2 * digit_bits_)) & mask_];
  }

  /// All of them, ascending; in `room` or in `spare`. Of those that begin at the same position, the one added first
  /// comes first. Once.
  [[nodiscard]] std::span<const Piece> sorted() noexcept {
    constexpr std::size_t kFew = 32;
    if (count_ < kFew) {
      const auto begins_before = [](const Piece& a, const Piece& b) { return a.first < b.first; };
      for (Piece* next = room_; next < room_ + count_; ++next) {
        std::rotate(std::upper_bound(room_, next, *next, begins_before), next, next + 1);
      }
      return {room_, count_};
    }
    std::uint32_t next[kMostDigits] = {};
    for (std::uint32_t value = 0; value <= mask_; ++value) {
      for (unsigned digit = 0; digit < 2; ++digit) next[digit] += std::exchange(starts_[digit][value], next[digit]);
      if (digits_ > 2) next[2] += std::exchange(starts_[2][value], next[2]);
    }
    for (unsigned digit = 0; digit < digits_; ++digit) {
      std::uint32_t* const starts = starts_[digit];
      const unsigned shift = digit * digit_bits_;
      for (std::size_t i = 0; i < count_; ++i) spare_[starts[(room_[i].first >> shift) & mask_]++] = room_[i];
      std::swap(room_, spare_);
    }
    return {room_, count_};
  }

 private:
  static constexpr unsigned kMostDigitBits = 11;
  static constexpr unsigned kMostDigits = 3;

  Piece* room_;
  Piece* spare_;
  std::size_t count_ = 0;
  unsigned digits_;
  unsigned digit_bits_;
  std::uint32_t mask_;
  std::uint32_t starts_[kMostDigits][1U << kMostDigitBits];
};

}  // namespace tiervec::cluster_index
