#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace tiervec {

/// Hash of a record on a tier, to notice a read that returns other bytes than were written. Multiply and fold, eight
/// bytes at a time in two chains: fast, and any changed bit changes about half of the result. It guards against
/// accidents, not against somebody who forges records.
class RecordHash {
 public:
  /// The hash of a record at `place` (a number of its own in its section) of the build with this salt. The same bytes
  /// at another place, or of another build, have another hash.
  RecordHash(std::uint64_t salt, std::uint64_t place) : RecordHash(salt ^ (place * kMultiplier)) {}
  explicit RecordHash(std::uint64_t seed) : state_{seed * kMultiplier, ~seed * kMultiplier} {}

  void add(const std::byte* from, std::size_t bytes) noexcept {
    std::size_t chain = 0;
    for (; bytes >= 8; from += 8, bytes -= 8, chain ^= 1) {
      mix(chain, word(from, 8));
    }
    if (bytes > 0) {
      mix(chain, word(from, bytes) ^ (std::uint64_t{bytes} << 56));
    }
  }
  /// All 64 bits; nothing may be added afterwards.
  [[nodiscard]] std::uint64_t wide_value() noexcept {
    mix(0, state_[1]);
    mix(0, state_[1] >> 32);
    return state_[0];
  }
  /// 32 bits; nothing may be added afterwards.
  [[nodiscard]] std::uint32_t value() noexcept {
    mix(0, state_[1]);
    return static_cast<std::uint32_t>(state_[0] ^ (state_[0] >> 32));
  }

 private:
  static constexpr std::uint64_t kMultiplier = 0x9e3779b97f4a7c15ULL;

  static std::uint64_t word(const std::byte* from, std::size_t bytes) noexcept {
    std::uint64_t value = 0;
    std::memcpy(&value, from, bytes);
    return value;
  }
  void mix(std::size_t chain, std::uint64_t value) noexcept {
    const std::uint64_t x = (state_[chain] ^ value) * kMultiplier;
    state_[chain] = x ^ std::rotr(x, 29);
  }

  std::uint64_t state_[2];
};

}  // namespace tiervec
