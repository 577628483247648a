#pragma once

// One record: what one hop of the search reads.
//
//   | vector             | check | label      | degree | neighbour ids, id_bits each, lowest bit first | pad to unit |
//   | dim * element size | 4     | 0..8 bytes | 1      | ceil(degree * id_bits / 8)                    |             |
//
// Layout packed: records follow each other without padding, id_bits is ceil(log2 n). Layout plain: the same with
// id_bits 32.
//
// Layout sectors, for devices that read blocks (DiskANN, NeurIPS'19): id_bits is 32, every record has room for
// sector_degree neighbours, and as many whole records as fit share a sector of 4 KiB; none lies in two. A record that
// is larger than a sector has sectors of its own.
//
//   | record 0 | record 1 | ... | zeros | record r | record r + 1 | ... | zeros |
//   |<------------- 4096 ------------->|<--------------- 4096 -------------->|
//
//   check   hash of the build's salt, the vertex id and everything else in the record: a read that returns a record of
//           another vertex or another build, a torn one or old bytes passes with probability 2^-32
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
  static constexpr std::uint32_t kSectorBytes = 4096;
  static constexpr std::uint32_t kWideIdBits = 32;

  std::uint32_t dim = 0;
  Dtype dtype = Dtype::kFloat32;
  std::uint32_t id_bits = 1;
  std::uint32_t label_bytes = 0;
  std::uint32_t unit = 1;           // edge areas are multiples of it, so that their size in units fits a byte
  std::uint32_t sector_degree = 0;  // of sectors: neighbours that a record has room for; 0: packed, plain
  std::uint64_t salt = 0;           // of the build; seeds the checks

  /// Smallest sizes that hold ids below `count`, labels up to `largest_label` (0: none) and lists of max_degree.
  static RecordLayout fit(std::uint32_t dim, Dtype dtype, std::uint32_t count, std::uint64_t largest_label,
                          std::uint32_t max_degree);

  /// The same of layout plain, which holds ids and lists of any size.
  static RecordLayout fit_plain(std::uint32_t dim, Dtype dtype, std::uint64_t largest_label);

  /// The same of layout sectors.
  static RecordLayout fit_sectors(std::uint32_t dim, Dtype dtype, std::uint64_t largest_label,
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

  [[nodiscard]] bool in_sectors() const noexcept { return sector_degree > 0; }
  /// Bytes of a record with so many neighbours, as it is stored; of sectors 0 when it has no room for them.
  [[nodiscard]] std::uint32_t stored_bytes(std::uint32_t degree) const noexcept {
    if (!in_sectors()) {
      return record_bytes(edge_units(degree));
    }
    return degree <= sector_degree ? record_bytes(edge_units(sector_degree)) : 0;
  }
  /// Layout `sectors`: records that share one sector, or 0 when a record needs several.
  [[nodiscard]] std::uint32_t records_per_sector() const noexcept { return kSectorBytes / stored_bytes(0); }
  /// Layout `sectors`: sectors of a record, at least 1.
  [[nodiscard]] std::uint32_t sectors_per_record() const noexcept {
    return (stored_bytes(0) + kSectorBytes - 1) / kSectorBytes;
  }
  /// Layout `sectors`: bytes of the section without kOverread.
  [[nodiscard]] std::uint64_t sector_section_bytes(std::uint32_t count) const noexcept {
    const std::uint64_t shared = records_per_sector();
    const std::uint64_t sectors =
        shared > 0 ? (count + shared - 1) / shared : std::uint64_t{count} * sectors_per_record();
    return sectors * kSectorBytes;
  }

  /// Writes a record of stored_bytes(neighbors.size()) bytes.
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
