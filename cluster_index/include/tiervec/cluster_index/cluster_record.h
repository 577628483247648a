#pragma once

// What lies on the tier for each vector. Records follow each other without padding, in position order:
//
//   coded, grouped, decoupled   | vector             | check |
//   replicated                  | vector             | check | position |   in the postings of all its clusters
//                               | dim * element size | 2     | 4        |
//
//   check   hash of the position and the vector, compared when the tier was not verified at open: a read that returns
//           another record, a torn one or old bytes is noticed with probability 1 - 2^-16
//
// Little-endian. The section ends with kOverread zeros, so that kernels may load whole registers.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <tiervec/core/dtype.h>
#include <tiervec/core/record_hash.h>

namespace tiervec::cluster_index {

struct ClusterRecord {
  static constexpr std::uint32_t kCheckBytes = 2;
  static constexpr std::uint32_t kPositionBytes = 4;
  static constexpr std::uint32_t kOverread = 64;

  std::uint32_t vector_bytes = 0;
  bool has_position = false;

  [[nodiscard]] std::uint32_t bytes() const noexcept {
    return vector_bytes + kCheckBytes + (has_position ? kPositionBytes : 0);
  }
  [[nodiscard]] static std::uint16_t check(std::uint32_t position, const std::byte* vector,
                                           std::uint32_t vector_bytes) noexcept {
    RecordHash hash(position);
    hash.add(vector, vector_bytes);
    const std::uint32_t value = hash.value();
    return static_cast<std::uint16_t>(value ^ (value >> 16));
  }
  void encode(std::uint32_t position, const std::byte* vector, std::byte* record) const noexcept {
    std::memcpy(record, vector, vector_bytes);
    const std::uint16_t sum = check(position, vector, vector_bytes);
    std::memcpy(record + vector_bytes, &sum, sizeof sum);
    if (has_position) std::memcpy(record + vector_bytes + kCheckBytes, &position, sizeof position);
  }
  [[nodiscard]] bool intact(std::uint32_t position, const std::byte* record) const noexcept {
    std::uint16_t sum;
    std::memcpy(&sum, record + vector_bytes, sizeof sum);
    return sum == check(position, record, vector_bytes);
  }
  /// Of a record that has one.
  [[nodiscard]] std::uint32_t position(const std::byte* record) const noexcept {
    std::uint32_t position;
    std::memcpy(&position, record + vector_bytes + kCheckBytes, sizeof position);
    return position;
  }
};

}  // namespace tiervec::cluster_index
