#include <algorithm>
#include <cstring>

#include <tiervec/graph_index/candidate_list.h>

namespace tiervec::graph_index {
namespace {

std::uint32_t insert_one(CandidateList& list, float distance, std::uint32_t id) noexcept {
  if (!(distance < list.bound())) {
    return list.capacity;
  }
  float* const end = list.distances + list.size;
  const auto at = static_cast<std::uint32_t>(std::upper_bound(list.distances, end, distance) - list.distances);
  for (std::uint32_t i = at; i > 0 && list.distances[i - 1] == distance; --i) {
    if (list.id(i - 1) == id) {
      return list.capacity;
    }
  }
  const std::uint32_t moved = std::min(list.size, list.capacity - 1) - at;
  std::memmove(list.distances + at + 1, list.distances + at, moved * sizeof(float));
  std::memmove(list.entries + at + 1, list.entries + at, moved * sizeof(std::uint32_t));
  list.distances[at] = distance;
  list.entries[at] = id << 1;
  list.size = std::min(list.size + 1, list.capacity);
  return at;
}

std::uint32_t insert(CandidateList& list, const float* distances, const std::uint32_t* ids,
                     std::uint32_t count) noexcept {
  std::uint32_t lowest = list.capacity;
  for (std::uint32_t i = 0; i < count; ++i) {
    lowest = std::min(lowest, insert_one(list, distances[i], ids[i]));
  }
  return lowest;
}

void unpack(const std::byte* bits, std::uint32_t count, std::uint32_t width, std::uint32_t* out) noexcept {
  const std::uint64_t mask = (std::uint64_t{1} << width) - 1;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t from = std::uint64_t{i} * width;
    std::uint64_t window;
    std::memcpy(&window, bits + from / 8, sizeof window);
    out[i] = static_cast<std::uint32_t>((window >> (from % 8)) & mask);
  }
}

}  // namespace

const HopKernels kHopKernelsPortable = {insert, unpack};

const HopKernels& hop_kernels(SimdLevel level) noexcept {
#ifdef TIERVEC_X86
  if (level == SimdLevel::kAvx512) {
    return kHopKernelsAvx512;
  }
#endif
  (void)level;
  return kHopKernelsPortable;
}

}  // namespace tiervec::graph_index
