#pragma once

// Records that searches read most often, kept in fast memory. Filled once, before searches see it.
//
//   slots    open addressing: | vertex | place | ...   power of two, at most half full
//   records  copies, each followed by the next; as on the tier

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <tiervec/core/huge_buffer.h>
#include <tiervec/graph_index/record_locator.h>

namespace tiervec::graph_index {

class HotSet {
 public:
  HotSet() = default;

  /// Room for the records of `vertices`; fill each place before the set is used.
  HotSet(const RecordLocator& locator, std::span<const std::uint32_t> vertices);

  /// Bytes that one more record of `record_bytes` takes, its share of the slots counted.
  static std::uint64_t cost_bytes(std::uint32_t record_bytes) noexcept { return record_bytes + 4 * sizeof(Slot); }

  [[nodiscard]] bool empty() const noexcept { return slots_.empty(); }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return record_bytes_ + slots_.size() * sizeof(Slot); }

  /// The record's place, or null when it is not hot. Not for an empty set.
  [[nodiscard]] std::byte* find(std::uint32_t vertex) noexcept {
    const std::uint64_t offset = offset_of(vertex);
    return offset == kAbsent ? nullptr : records_.as<std::byte>() + offset;
  }
  [[nodiscard]] const std::byte* find(std::uint32_t vertex) const noexcept {
    const std::uint64_t offset = offset_of(vertex);
    return offset == kAbsent ? nullptr : records_.as<std::byte>() + offset;
  }

 private:
  struct Slot {
    std::uint64_t offset = kAbsent;
    std::uint32_t vertex = 0;
    std::uint32_t padding = 0;
  };
  static constexpr std::uint64_t kAbsent = ~std::uint64_t{0};

  [[nodiscard]] std::size_t first_slot(std::uint32_t vertex) const noexcept {
    return (std::uint64_t{vertex} * 0x9e3779b97f4a7c15ULL >> 32) & (slots_.size() - 1);
  }
  [[nodiscard]] std::uint64_t offset_of(std::uint32_t vertex) const noexcept {
    std::size_t slot = first_slot(vertex);
    while (slots_[slot].offset != kAbsent && slots_[slot].vertex != vertex) slot = (slot + 1) & (slots_.size() - 1);
    return slots_[slot].offset;
  }

  std::vector<Slot> slots_;
  HugeBuffer records_;
  std::uint64_t record_bytes_ = 0;
};

}  // namespace tiervec::graph_index
