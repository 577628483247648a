#include <tiervec/graph_index/record_locator.h>

#include <algorithm>
#include <string>

#include <tiervec/core/status.h>

namespace tiervec::graph_index {

RecordLocator::RecordLocator(const RecordLayout& layout, std::span<const LocatorGroup> groups, std::uint32_t count,
                             std::uint64_t section_bytes)
    : groups_(groups), fixed_bytes_(layout.edges_at()), unit_(layout.unit) {
  if (layout.in_sectors()) {
    fixed_bytes_ = layout.stored_bytes(0);
    records_per_step_ = std::max(1U, layout.records_per_sector());
    sectors_per_step_ = layout.sectors_per_record();
    const std::uint64_t right = layout.sector_section_bytes(count) + RecordLayout::kOverread;
    if (!groups.empty() || section_bytes != right) {
      throw Error(ErrorCode::kDataLoss, "the records of " + std::to_string(count) + " vectors in sectors take " +
                                            std::to_string(right) + " bytes and no locator, but their section has " +
                                            std::to_string(section_bytes) + " bytes and a locator of " +
                                            std::to_string(groups.size()) + " groups");
    }
    return;
  }
  const std::uint32_t expected = (count + LocatorGroup::kRecords - 1) / LocatorGroup::kRecords;
  if (groups.size() != expected) {
    throw Error(ErrorCode::kDataLoss, "the record locator has " + std::to_string(groups.size()) + " groups; " +
                                          std::to_string(count) + " vectors need " + std::to_string(expected));
  }
  std::uint64_t end = 0;
  for (std::uint32_t vertex = 0; vertex < count; ++vertex) {
    if (vertex % LocatorGroup::kRecords == 0 && groups[vertex / LocatorGroup::kRecords].start != end) {
      throw Error(ErrorCode::kDataLoss, "the record locator disagrees with itself at vertex " + std::to_string(vertex));
    }
    end += fixed_bytes_ +
           std::uint64_t{groups[vertex / LocatorGroup::kRecords].units[vertex % LocatorGroup::kRecords]} * unit_;
  }
  if (end + RecordLayout::kOverread != section_bytes) {
    throw Error(ErrorCode::kDataLoss, "the records end at byte " + std::to_string(end) + " but their section has " +
                                          std::to_string(section_bytes) + " bytes");
  }
}

}  // namespace tiervec::graph_index
