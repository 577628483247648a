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
  constexpr unsigned kMostDigitBits = 11;
  constexpr unsigned kMostPasses = 3;
  if (count < kFew) {
    std::sort(numbers, numbers + count);
    return;
  }
  const unsigned passes = (std::max(1U, bits) + kMostDigitBits - 1) / kMostDigitBits;
  const unsigned digit_bits = (bits + passes - 1) / passes;
  const std::uint32_t mask = (1U << digit_bits) - 1;
  std::uint32_t starts[kMostPasses][1U << kMostDigitBits];
  for (unsigned pass = 0; pass < passes; ++pass) std::fill_n(starts[pass], mask + 1, 0U);
  for (std::size_t i = 0; i < count; ++i) {
    for (unsigned pass = 0; pass < passes; ++pass) ++starts[pass][(numbers[i] >> (pass * digit_bits)) & mask];
  }
  std::uint32_t* from = numbers;
  std::uint32_t* to = spare;
  for (unsigned pass = 0; pass < passes; ++pass) {
    std::uint32_t next = 0;
    for (std::uint32_t digit = 0; digit <= mask; ++digit) {
      const std::uint32_t size = starts[pass][digit];
      starts[pass][digit] = next;
      next += size;
    }
    const unsigned shift = pass * digit_bits;
    for (std::size_t i = 0; i < count; ++i) to[starts[pass][(from[i] >> shift) & mask]++] = from[i];
    std::swap(from, to);
  }
  if (from != numbers) std::copy_n(from, count, numbers);
}

}  // namespace tiervec::cluster_index
