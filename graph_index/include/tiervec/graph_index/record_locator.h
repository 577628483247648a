#pragma once

// Where each record starts: of layouts packed and plain in 1.5 bytes of fast memory per vertex, of sectors in none.
//
//   group of 16 vertices:  | start of the first record, 8 bytes | edge area of each record in units, 16 x 1
//   byte |
//
// A record's offset is the group's start plus the sizes of the records before it in the group. In sectors the vertex
// alone tells it.

#include <cstdint>
#include <cstring>
#include <span>

#include <tiervec/core/huge_buffer.h>
#include <tiervec/graph_index/record_layout.h>
#include <tiervec/rdma/tier.h>

namespace tiervec::graph_index {

struct LocatorGroup {
  static constexpr std::uint32_t kRecords = 16;
  std::uint64_t start = 0;
  std::uint8_t units[kRecords] = {};
};
static_assert(sizeof(LocatorGroup) == 24);

class RecordLocator {
 public:
  /// Borrows `groups`, which are none for layout sectors. Throws Error(kDataLoss) when they do not describe records
  /// that fill `section_bytes`.
  RecordLocator(const RecordLayout& layout, std::span<const LocatorGroup> groups, std::uint32_t count,
                std::uint64_t section_bytes);

  [[nodiscard]] rdma::Read locate(std::uint32_t vertex) const noexcept {
    if (groups_.empty()) {
      const std::uint64_t sector = std::uint64_t{vertex / records_per_step_} * sectors_per_step_;
      return {sector * RecordLayout::kSectorBytes + std::uint64_t{vertex % records_per_step_} * fixed_bytes_,
              fixed_bytes_};
    }
    const LocatorGroup& group = groups_[vertex / LocatorGroup::kRecords];
    const std::uint32_t place = vertex % LocatorGroup::kRecords;
    return {group.start + std::uint64_t{place} * fixed_bytes_ + std::uint64_t{units_before(group, place)} * unit_,
            fixed_bytes_ + group.units[place] * unit_};
  }
  [[gnu::always_inline]] void prefetch(std::uint32_t vertex) const noexcept {
    if (!groups_.empty()) __builtin_prefetch(&groups_[vertex / LocatorGroup::kRecords], 0, 3);
  }

 private:
  // Sum of the first `place` bytes, without branches: two words, masked, added byte by byte in 16-bit lanes.
  static std::uint32_t units_before(const LocatorGroup& group, std::uint32_t place) noexcept {
    std::uint64_t words[2];
    std::memcpy(words, group.units, sizeof words);
    const std::uint32_t in_second = place > 8 ? place - 8 : 0;
    words[0] &= place >= 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << (8 * place)) - 1;
    words[1] &= (std::uint64_t{1} << (8 * in_second)) - 1;
    constexpr std::uint64_t kEvenBytes = 0x00ff00ff00ff00ffULL;
    const std::uint64_t lanes = (words[0] & kEvenBytes) + ((words[0] >> 8) & kEvenBytes) + (words[1] & kEvenBytes) +
                                ((words[1] >> 8) & kEvenBytes);
    return static_cast<std::uint32_t>((lanes * 0x0001000100010001ULL) >> 48);
  }

  std::span<const LocatorGroup> groups_;
  std::uint32_t fixed_bytes_;  // of a record: without its edge area; in sectors all of it
  std::uint32_t unit_;
  std::uint32_t records_per_step_ = 1;  // in sectors: so many records lie in so many sectors
  std::uint32_t sectors_per_step_ = 1;
};

}  // namespace tiervec::graph_index
