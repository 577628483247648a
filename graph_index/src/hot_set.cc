#include <tiervec/graph_index/hot_set.h>

#include <bit>

namespace tiervec::graph_index {

HotSet::HotSet(const RecordLocator& locator, std::span<const std::uint32_t> vertices) {
  if (vertices.empty()) {
    return;
  }
  slots_.resize(std::bit_ceil(vertices.size() * 2));
  for (const std::uint32_t vertex : vertices) {
    std::size_t slot = first_slot(vertex);
    while (slots_[slot].offset != kAbsent) slot = (slot + 1) & (slots_.size() - 1);
    slots_[slot] = {record_bytes_, vertex, 0};
    record_bytes_ += locator.locate(vertex).length;
  }
  records_ = HugeBuffer(record_bytes_ + RecordLayout::kOverread);
}

}  // namespace tiervec::graph_index
