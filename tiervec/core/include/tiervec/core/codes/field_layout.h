#pragma once

// How a row of a DotCode holds one small unsigned integer (a field) per dimension.
//
//   row   | code bytes: fields of 2, 4, 6 or 8 bits, none across a byte | .. 0 .. | addend | factor |
//
//   Addend and factor are the upper three bytes of a float32: its range, and 16 bits of precision. A kernel loads four
//   bytes from one byte before, and clears that byte.
//
//   Or all stored dimensions have one bit, eight of them a byte, in their order.
//
//   Wider fields: a byte is cut in one of five ways (low bits first):   8   6+2   4+4   4+2+2   2+2+2+2
//   so a field starts at bit 0, 2, 4 or 6. All fields that start at bit 2p form plane p: (byte >> 2p) & mask.
//   A dot product with a query then takes four multiply-adds a vector register, whatever the mixture of widths.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace tiervec::codes {

inline constexpr std::uint32_t kPlanes = 4;         // of fields of 2 to 8 bits
inline constexpr std::uint32_t kMaxPlanes = 8;      // of single bits
inline constexpr std::uint32_t kFactorBytes = 6;    // addend and factor at the end of a row
inline constexpr std::uint32_t kAddendFromEnd = 7;  // where a kernel loads four bytes
inline constexpr std::uint32_t kFactorFromEnd = 4;
inline constexpr std::uint32_t kFactorMask = 0xffffff00;  // of what it loads

struct FieldLayout {
  static constexpr std::int32_t kNoDimension = -1;

  /// For each plane and each byte: which dimension's field is there, and its bits.
  std::array<std::vector<std::int32_t>, kMaxPlanes> dimension;
  std::array<std::vector<std::uint8_t>, kMaxPlanes> mask;
  std::uint32_t code_bytes = 0;
  std::uint32_t planes = kPlanes;  // or kMaxPlanes
  std::uint32_t plane_shift = 2;   // plane p starts at bit p * plane_shift; 1: single bits
};

/// Packs fields of `widths` bits (0 = the dimension is not stored) into bytes: wide first, gaps filled by narrower
/// ones; or single bits, when that is the only width. Deterministic, so only the widths need to be stored. Throws
/// Error(kInvalidArgument) for other widths.
FieldLayout pack_fields(std::span<const std::uint8_t> widths);

}  // namespace tiervec::codes
