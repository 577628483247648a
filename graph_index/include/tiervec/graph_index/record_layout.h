#pragma once

// One record of the packed layout: what one hop of the search reads. Records follow each other without padding.
//
//   | vector             | check | label      | degree | neighbour ids, id_bits each, lowest bit first | pad to unit |
//   | dim * element size | 4     | 0..8 bytes | 1      | ceil(degree * id_bits / 8)                    |             |
//
//   check   hash of the vertex id and of everything else in the record: a read that returns another record, a torn one
//           or old bytes is noticed
//   label   the user's id; absent when it equals the vertex id
//
// Little-endian. Readers may look at up to kOverread bytes behind a record: the section ends with that many zeros.

#include <cstddef>
#include <cstdint>
#include <span>

#include <tiervec/core/dtype.h>

namespace tiervec::graph_index {

struct RecordLayout {
  static constexpr std::uint32_t kCheckBytes = 4;
  static constexpr std::uint32_t kMaxDegree = 255;
  static constexpr std::uint32_t kOverread = 64;

  std::uint32_t dim = 0;
  Dtype dtype = Dtype::kFloat32;
  std::uint32_t id_bits = 1;
  std::uint32_t label_bytes = 0;
  std::uint32_t unit = 1;  // edge areas are multiples of it, so that their size in units fits a byte

  /// Smallest sizes that hold ids below `count`, labels up to `largest_label` (0: none) and lists of max_degree.
  static RecordLayout fit(std::uint32_t dim, Dtype dtype, std::uint32_t count, std::uint64_t largest_label,
                          std::uint32_t max_degree);

  /// Throws Error(kDataLoss) when no index of `count` vectors has these sizes. What is read with a layout that passes
  /// stays within its record.
  void check(std::uint32_t count) const;

  [[nodiscard]] std::uint32_t vector_bytes() const noexcept {
    return dim * static_cast<std::uint32_t>(element_bytes(dtype));
  }
  [[nodiscard]] std::uint32_t check_at() const noexcept { return vector_bytes(); }
  [[nodiscard]] std::uint32_t label_at() const noexcept { return check_at() + kCheckBytes; }
  [[nodiscard]] std::uint32_t degree_at() const noexcept { return label_at() + label_bytes; }
  [[nodiscard]] std::uint32_t edges_at() const noexcept { return degree_at() + 1; }
  [[nodiscard]] std::uint32_t edge_units(std::uint32_t degree) const noexcept {
    return ((degree * id_bits + 7) / 8 + unit - 1) / unit;
  }
  [[nodiscard]] std::uint32_t record_bytes(std::uint32_t units) const noexcept { return edges_at() + units * unit; }

  /// Writes a record of record_bytes(edge_units(neighbors.size())) bytes, then zeroes up to there.
  void encode(std::uint32_t vertex, const std::byte* vector, std::uint64_t label,
              std::span<const std::uint32_t> neighbors, std::byte* record) const noexcept;
  [[nodiscard]] std::uint32_t degree(const std::byte* record) const noexcept {
    return static_cast<std::uint32_t>(record[degree_at()]);
  }
  [[nodiscard]] std::uint64_t label(std::uint32_t vertex, const std::byte* record) const noexcept;
  /// True when the record is the one of `vertex`, unharmed, and its list fits `bytes`.
  [[nodiscard]] bool intact(std::uint32_t vertex, const std::byte* record, std::uint32_t bytes) const noexcept;
};

}  // namespace tiervec::graph_index
