#pragma once

// The first page of a device or file that dax: uses; the region follows.
//
//   | magic | state | format_version | region_at | region_bytes | checksum | written_at | name | check | zeros ... |
//   region | 8     | 8     | 4              | 4         | 8            | 8        | 8          | 128  | 8     | to 4096
//   |
//
//   state     0: not complete. Everything but magic means nothing then.
//   checksum  XXH3 (64 bits) of the region, by which an index finds its region again
//   check     of the fields before it but state
//
// Magic and state are written in one store each, and what a store relies on is on the medium before it:
//
//   zeros --magic--> not complete --region, other fields, state = 1--> complete --state = 0--> not complete ...
//
// So a crash leaves one of the states, and never a region that looks complete and is not. Little-endian.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace tiervec::rdma {

struct DaxHeader {
  static constexpr std::uint64_t kBytes = 4096;
  static constexpr std::uint32_t kFormatVersion = 1;
  static constexpr std::size_t kNameBytes = 128;
  static constexpr char kMagic[9] = "TVECDAX1";

  char magic[8] = {};
  std::uint64_t state = 0;
  std::uint32_t format_version = 0;
  std::uint32_t region_at = 0;
  std::uint64_t region_bytes = 0;
  std::uint64_t checksum = 0;
  std::uint64_t written_at = 0;  // seconds since 1970
  char name[kNameBytes] = {};    // for people; ends with zeros
  std::uint64_t check = 0;

  [[nodiscard]] std::uint64_t right_check() const noexcept;
  [[nodiscard]] std::string name_text() const;
};
static_assert(sizeof(DaxHeader) == 184);

enum class DaxState : std::uint8_t {
  kFree,         // zeros
  kNotComplete,  // ours; its loading has not ended, or was broken off
  kComplete,
  kNewer,    // complete, of a format that this version does not know
  kDamaged,  // ours; complete and contradicting itself
  kForeign,  // anything else
};

/// What the first page says. A page shorter than kBytes is free when it is all zeros or empty, else foreign. `header`
/// is filled when the state is kComplete or kNewer (the version only).
DaxState parse_dax_header(std::span<const std::byte> page, std::uint64_t size_bytes, DaxHeader& header);

}  // namespace tiervec::rdma
