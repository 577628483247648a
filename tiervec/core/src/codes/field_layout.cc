#include <tiervec/core/codes/field_layout.h>

#include <algorithm>
#include <string>

#include <tiervec/core/status.h>

namespace tiervec::codes {
namespace {

class Packer {
 public:
  explicit Packer(std::span<const std::uint8_t> widths) {
    for (std::size_t i = widths.size(); i-- > 0;) {  // taken from the back, so dimensions come out in order
      if (widths[i] > 8 || widths[i] % 2 != 0) {
        throw Error(ErrorCode::kInvalidArgument, "dimension " + std::to_string(i) + " has a code of " +
                                                     std::to_string(widths[i]) +
                                                     " bits; it must be 0, 1, 2, 4, 6 or 8");
      }
      waiting_[widths[i] / 2].push_back(static_cast<std::int32_t>(i));
    }
  }

  FieldLayout pack() {
    for (const std::uint32_t widest : {8u, 6u, 4u, 2u}) {
      while (!waiting_[widest / 2].empty()) {
        fill_byte(widest);
      }
    }
    return std::move(layout_);
  }

 private:
  void fill_byte(std::uint32_t widest) {
    for (std::uint32_t plane = 0; plane < kPlanes; ++plane) {
      layout_.dimension[plane].push_back(FieldLayout::kNoDimension);
      layout_.mask[plane].push_back(0);
    }
    ++layout_.code_bytes;
    std::uint32_t used = 0;
    std::uint32_t width = widest;
    while (used < 8 && width >= 2) {
      auto& dimensions = waiting_[width / 2];
      if (width > 8 - used || dimensions.empty()) {
        width -= 2;
        continue;
      }
      layout_.dimension[used / 2].back() = dimensions.back();
      layout_.mask[used / 2].back() = static_cast<std::uint8_t>((1u << width) - 1);
      dimensions.pop_back();
      used += width;
    }
  }

  std::array<std::vector<std::int32_t>, 5> waiting_;  // dimensions by half their width
  FieldLayout layout_;
};

FieldLayout pack_bits(std::span<const std::uint8_t> widths) {
  FieldLayout layout;
  layout.planes = kMaxPlanes;
  layout.plane_shift = 1;
  std::uint32_t plane = 0;
  for (std::size_t i = 0; i < widths.size(); ++i) {
    if (widths[i] == 0) continue;
    if (widths[i] != 1) {
      throw Error(ErrorCode::kInvalidArgument, "dimension " + std::to_string(i) + " has a code of " +
                                                   std::to_string(widths[i]) +
                                                   " bits; beside dimensions of one bit it must be 0 or 1");
    }
    if (plane == 0) {
      for (std::uint32_t each = 0; each < kMaxPlanes; ++each) {
        layout.dimension[each].push_back(FieldLayout::kNoDimension);
        layout.mask[each].push_back(0);
      }
      ++layout.code_bytes;
    }
    layout.dimension[plane].back() = static_cast<std::int32_t>(i);
    layout.mask[plane].back() = 1;
    plane = (plane + 1) % kMaxPlanes;
  }
  return layout;
}

}  // namespace

FieldLayout pack_fields(std::span<const std::uint8_t> widths) {
  if (std::any_of(widths.begin(), widths.end(), [](std::uint8_t width) { return width == 1; })) {
    return pack_bits(widths);
  }
  return Packer(widths).pack();
}

}  // namespace tiervec::codes
