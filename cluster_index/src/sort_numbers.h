#pragma once

// Sorting of positions. A query of some hundred addresses spends more time in comparisons whose outcome nobody can
// predict than in the rest of its list; counting digits has none.

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace tiervec::cluster_index {

/// Sorts numbers below 2^bits, ascending. `spare` has room for as many.
inline void sort_numbers(std::uint32_t* numbers, std::size_t count, unsigned bits, std::uint32_t* spare) noexcept {
  constexpr std::size_t kFew = 64;
  constexpr unsigned kDigitBits = 8;
  constexpr unsigned kDigits = 1U << kDigitBits;
  constexpr unsigned kMostPasses = 32 / kDigitBits;
  if (count < kFew) {
    std::sort(numbers, numbers + count);
    return;
  }
  const unsigned passes = std::min(kMostPasses, (bits + kDigitBits - 1) / kDigitBits);
  std::uint32_t starts[kMostPasses][kDigits] = {};
  for (std::size_t i = 0; i < count; ++i) {
    for (unsigned pass = 0; pass < passes; ++pass) ++starts[pass][(numbers[i] >> (pass * kDigitBits)) % kDigits];
  }
  std::uint32_t* from = numbers;
  std::uint32_t* to = spare;
  for (unsigned pass = 0; pass < passes; ++pass) {
    std::uint32_t next = 0;
    for (std::uint32_t& start : starts[pass]) {
      const std::uint32_t size = start;
      start = next;
      next += size;
    }
    for (std::size_t i = 0; i < count; ++i) to[starts[pass][(from[i] >> (pass * kDigitBits)) % kDigits]++] = from[i];
    std::swap(from, to);
  }
  if (from != numbers) std::copy_n(from, count, numbers);
}

}  // namespace tiervec::cluster_index
