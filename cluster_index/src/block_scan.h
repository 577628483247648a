#pragma once

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include <tiervec/core/codes/code.h>
#include <tiervec/core/codes/nearest_hits.h>

namespace tiervec::cluster_index {

/// A scan of many ranges of rows that keeps the nearest rows. Blocks of all ranges are listed and scanned together,
/// some dozens at a time, so that a short range costs no more than its blocks.
class BlockScan {
 public:
  /// Rows that are scanned before hits are cut back to the best: there is room for so many more than are held.
  static constexpr std::uint32_t kMostRows = 64 * codes::kBlockRows;

  /// Hits beyond `held` are cut back to the nearest `least` or a few more. `hits` has room() for that.
  BlockScan(const codes::Code& code, const std::byte* state, const std::uint8_t* blocks, codes::ScanHits& hits,
            std::uint32_t least, std::uint32_t held) noexcept
      : code_(code), state_(state), blocks_(blocks), hits_(hits), least_(least), held_(held) {}

  [[nodiscard]] static std::size_t room(std::size_t held) noexcept { return held + kMostRows + codes::kBlockRows; }

  /// Rows [first, end), relative to something at this distance of the query.
  void add(std::uint32_t first, std::uint32_t end, float origin_distance) noexcept {
    while (end - first > kMostRows) {
      add_few(first, first + kMostRows, origin_distance);
      first += kMostRows;
    }
    add_few(first, end, origin_distance);
  }
  /// Those of the rows whose bit admitted(block) has, a mask of the rows of a block. Returns how many.
  template <class Admitted>
  std::uint32_t add(std::uint32_t first, std::uint32_t end, float origin_distance, const Admitted& admitted) noexcept {
    std::uint32_t rows = 0;
    for (std::uint32_t next = first; first < end; first = next) {
      next = first + std::min(end - first, kMostRows);
      const std::uint32_t count = codes::list_blocks(first, next, origin_distance, list_ + listed_);
      const codes::ScanBlock* const listed = list_ + listed_;
      for (std::uint32_t i = 0; i < count; ++i) {
        codes::ScanBlock block = listed[i];
        block.rows &= admitted(block.block);
        list_[listed_] = block;
        listed_ += block.rows != 0 ? 1U : 0U;
        rows += static_cast<std::uint32_t>(std::popcount(block.rows));
      }
      scan_listed();
    }
    return rows;
  }
  /// One block.
  void add(const codes::ScanBlock& block) noexcept {
    list_[listed_++] = block;
    scan_listed();
  }
  /// Scans what is listed.
  void finish() noexcept {
    while (listed_ > 0) scan(std::min(kTogether, listed_));
  }

 private:
  static constexpr std::uint32_t kTogether = kMostRows / codes::kBlockRows;
  static constexpr std::uint32_t kAhead = 8;                            // listed, but not scanned yet
  static constexpr std::uint32_t kListed = 2 * kTogether + kAhead + 1;  // a range may begin and end within a block

  void add_few(std::uint32_t first, std::uint32_t end, float origin_distance) noexcept {
    listed_ += codes::list_blocks(first, end, origin_distance, list_ + listed_);
    scan_listed();
  }
  void scan_listed() noexcept {
    assert(listed_ <= kListed);
    while (listed_ >= kTogether + kAhead) scan(kTogether);
  }
  void scan(std::uint32_t count) noexcept {
    code_.scan(state_, {blocks_, list_, count, listed_ - count}, hits_);
    if (hits_.count > held_) codes::keep_nearest(hits_, least_, least_ + least_ / 4);
    listed_ -= count;
    std::copy_n(list_ + count, listed_, list_);
  }

  const codes::Code& code_;
  const std::byte* state_;
  const std::uint8_t* blocks_;
  codes::ScanHits& hits_;
  std::uint32_t least_;
  std::uint32_t held_;
  std::uint32_t listed_ = 0;
  codes::ScanBlock list_[kListed];
};

}  // namespace tiervec::cluster_index
