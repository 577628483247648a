#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace tiervec::engine {

/// Which rows of an index a search may return: a bit for each, and how many these are. Immutable, so that searches of
/// any number of threads share one. A row is what the records of the index are numbered by: vertices, or positions.
class RowFilter {
 public:
  static constexpr std::uint32_t kWordBits = 64;

  /// Bit `row % 64` of words[row / 64] admits a row. Throws Error(kInvalidArgument) unless there are as many words as
  /// `rows` rows take, without a bit behind the last row.
  RowFilter(std::uint32_t rows, std::vector<std::uint64_t> words);

  [[nodiscard]] std::uint32_t rows() const noexcept { return rows_; }
  [[nodiscard]] std::uint32_t matching() const noexcept { return matching_; }
  /// Of all rows, the part that matches.
  [[nodiscard]] double share() const noexcept { return rows_ == 0 ? 0 : static_cast<double>(matching_) / rows_; }

  [[nodiscard]] bool admits(std::uint32_t row) const noexcept {
    return (words_[row / kWordBits] >> (row % kWordBits) & 1U) != 0;
  }
  /// Bits of 16 rows, the first of which is a multiple of 16.
  [[nodiscard]] std::uint32_t sixteen(std::uint32_t first) const noexcept {
    return static_cast<std::uint32_t>(words_[first / kWordBits] >> (first % kWordBits) & 0xffffU);
  }
  /// The first row from `row` on, before `end`, that is admitted (or not); `end` when there is none.
  [[nodiscard]] std::uint32_t next(std::uint32_t row, std::uint32_t end, bool admitted) const noexcept;
  /// Puts the admitted rows from `row` on, at most `most` of them, and moves `row` behind what it looked at. Returns
  /// how many; 0 when no more are left.
  std::uint32_t take(std::uint32_t& row, std::uint32_t* taken, std::uint32_t most) const noexcept;

 private:
  std::uint32_t rows_;
  std::uint32_t matching_ = 0;
  std::vector<std::uint64_t> words_;
};

/// How a filtered search finds its rows.
enum class FilterPlan : std::uint8_t {
  kEmpty,     // no row matches
  kRows,      // it looks at every matching row
  kClusters,  // at the matching rows of the nearest clusters
  kSearch,    // as without a filter, more widely; it returns what matches
};

std::string_view name(FilterPlan plan) noexcept;

/// Throws Error(kInvalidArgument) when the filter is not one of so many rows.
void check_filter(const RowFilter& filter, std::uint32_t rows);

}  // namespace tiervec::engine
