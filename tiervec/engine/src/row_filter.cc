#include <tiervec/engine/row_filter.h>

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#include <tiervec/core/status.h>

namespace tiervec::engine {

RowFilter::RowFilter(std::uint32_t rows, std::vector<std::uint64_t> words) : rows_(rows), words_(std::move(words)) {
  const std::size_t wanted = (std::size_t{rows} + kWordBits - 1) / kWordBits;
  if (words_.size() != wanted) {
    throw Error(ErrorCode::kInvalidArgument, "a filter of " + std::to_string(rows) + " rows takes " +
                                                 std::to_string(wanted) + " words of 64 bits, not " +
                                                 std::to_string(words_.size()));
  }
  if (rows % kWordBits != 0 && words_.back() >> (rows % kWordBits) != 0) {
    throw Error(ErrorCode::kInvalidArgument, "a filter of " + std::to_string(rows) + " rows admits rows behind them");
  }
  for (const std::uint64_t word : words_) matching_ += static_cast<std::uint32_t>(std::popcount(word));
}

std::uint32_t RowFilter::next(std::uint32_t row, std::uint32_t end, bool admitted) const noexcept {
  const std::uint64_t flip = admitted ? 0 : ~std::uint64_t{0};
  while (row < end) {
    const std::uint64_t left = (words_[row / kWordBits] ^ flip) >> (row % kWordBits);
    if (left != 0) return std::min(end, row + static_cast<std::uint32_t>(std::countr_zero(left)));
    row += kWordBits - row % kWordBits;
  }
  return end;
}

std::uint32_t RowFilter::take(std::uint32_t& row, std::uint32_t* taken, std::uint32_t most) const noexcept {
  std::uint32_t count = 0;
  while (row < rows_ && count < most) {
    std::uint64_t left = words_[row / kWordBits] >> (row % kWordBits);
    std::uint32_t base = row;
    row += kWordBits - row % kWordBits;
    for (; left != 0; left &= left - 1) {
      const std::uint32_t found = base + static_cast<std::uint32_t>(std::countr_zero(left));
      if (count == most) {
        row = found;
        return count;
      }
      taken[count++] = found;
    }
  }
  return count;
}

std::string_view name(FilterPlan plan) noexcept {
  switch (plan) {
    case FilterPlan::kEmpty:
      return "empty";
    case FilterPlan::kRows:
      return "rows";
    case FilterPlan::kClusters:
      return "clusters";
    case FilterPlan::kSearch:
      return "search";
  }
  return "";
}

void check_filter(const RowFilter& filter, std::uint32_t rows) {
  if (filter.rows() != rows) {
    throw Error(ErrorCode::kInvalidArgument, "the filter is of " + std::to_string(filter.rows()) +
                                                 " rows, and the index has " + std::to_string(rows));
  }
}

}  // namespace tiervec::engine
