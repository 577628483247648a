#pragma once

// What lies on the tier for each vector. Records follow each other without padding, in position order:
//
//   coded, grouped, decoupled   | vector             | check |
//   replicated                  | vector             | position | check |   in the postings of all its clusters
//                               | dim * element size | 4        | 3     |
//
//   check   hash of the build's salt, the place of the record and the bytes before the check, compared when the tier
//   was
//           not verified at open: a read that returns a record of another place or another build, a torn one or old
//           bytes passes with probability 2^-24
//   place   the position; of replicated, where vectors are stored several times, the byte offset in the section
//
// Little-endian. The section ends with kOverread zeros, so that kernels may load whole registers.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <tiervec/core/dtype.h>
#include <tiervec/core/record_hash.h>

namespace tiervec::cluster_index {

struct ClusterRecord {
  static constexpr std::uint32_t kCheckBytes = 3;
  static constexpr std::uint32_t kPositionBytes = 4;
  static constexpr std::uint32_t kOverread = 64;

  std::uint32_t vector_bytes = 0;
  bool has_position = false;
  std::uint64_t salt = 0;  // of the build

  [[nodiscard]] std::uint32_t bytes() const noexcept { return check_at() + kCheckBytes; }
  /// The place of a record that has a position, at this offset of its section.
  [[nodiscard]] static std::uint32_t place_at(std::uint64_t offset) noexcept {
    constexpr std::uint64_t kOdd = 0x9e3779b1;
    return static_cast<std::uint32_t>(offset ^ ((offset >> 32) * kOdd));
  }
  void encode(std::uint32_t place, std::uint32_t position, const std::byte* vector, std::byte* record) const noexcept {
    std::memcpy(record, vector, vector_bytes);
    if (has_position) std::memcpy(record + vector_bytes, &position, sizeof position);
    const std::uint32_t sum = check(place, record);
    std::memcpy(record + check_at(), &sum, kCheckBytes);
  }
  [[nodiscard]] bool intact(std::uint32_t place, const std::byte* record) const noexcept {
    std::uint32_t sum = 0;
    std::memcpy(&sum, record + check_at(), kCheckBytes);
    return sum == check(place, record);
  }
  /// Only for a record that has one.
  [[nodiscard]] std::uint32_t position(const std::byte* record) const noexcept {
    std::uint32_t position;
    std::memcpy(&position, record + vector_bytes, sizeof position);
    return position;
  }

 private:
  [[nodiscard]] std::uint32_t check_at() const noexcept { return vector_bytes + (has_position ? kPositionBytes : 0); }
  [[nodiscard]] std::uint32_t check(std::uint32_t place, const std::byte* record) const noexcept {
    RecordHash hash(salt, place);
    hash.add(record, check_at());
    const std::uint32_t value = hash.value();
    return (value ^ (value >> 24)) & 0xff'ffff;
  }
};

}  // namespace tiervec::cluster_index
