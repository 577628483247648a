#include <tiervec/graph_index/navigation_sample.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <unordered_set>

namespace tiervec::graph_index {
namespace {

std::vector<std::uint32_t> sample_ids(std::uint32_t count, std::uint32_t size, std::span<const std::uint32_t> without,
                                      std::uint64_t seed) {
  std::mt19937_64 random(seed ^ 0x6e617669ULL);
  std::unordered_set<std::uint32_t> seen(without.begin(), without.end());
  std::vector<std::uint32_t> ids;
  while (ids.size() < size) {
    const auto id = static_cast<std::uint32_t>(random() % count);
    if (seen.insert(id).second) ids.push_back(id);
  }
  return ids;
}

}  // namespace

NavigationSample build_navigation_sample(const VectorSpace& space, std::uint32_t size,
                                         std::span<const std::uint32_t> without, std::uint64_t seed, unsigned threads,
                                         WorkMonitor* monitor) {
  NavigationSample sample;
  sample.ids = sample_ids(
      space.count(), std::clamp(size, 1U, space.count() - static_cast<std::uint32_t>(without.size())), without, seed);
  const auto sampled = static_cast<std::uint32_t>(sample.ids.size());
  std::vector<std::byte> vectors(sampled * space.vector_bytes());
  for (std::uint32_t i = 0; i < sampled; ++i) {
    std::memcpy(vectors.data() + i * space.vector_bytes(), space.vector(sample.ids[i]), space.vector_bytes());
  }
  const VectorSpace small(vectors.data(), sampled, space.dim(), space.dtype(), space.metric(), threads);
  VamanaParameters parameters;
  parameters.graph_degree = NavigationSample::kDegree;
  parameters.build_list = 2 * NavigationSample::kDegree;
  parameters.threads = threads;
  parameters.seed = seed;
  const auto graph = build_vamana(small, parameters, {}, monitor);
  sample.adjacency.assign(std::size_t{sampled} * NavigationSample::kDegree, NavigationSample::kNone);
  for (std::uint32_t i = 0; i < sampled; ++i) {
    std::copy_n(graph->neighbors(i), graph->degree(i), sample.adjacency.data() + i * NavigationSample::kDegree);
  }
  // Descents start at position 0: put the entry of the sample's graph there.
  const std::uint32_t entry = graph->entry();
  std::swap(sample.ids[0], sample.ids[entry]);
  std::swap_ranges(sample.adjacency.begin(), sample.adjacency.begin() + NavigationSample::kDegree,
                   sample.adjacency.begin() + std::size_t{entry} * NavigationSample::kDegree);
  for (std::uint32_t& position : sample.adjacency) {  // 0 and entry have changed places
    if (position == 0 || position == entry) position = entry - position;
  }
  return sample;
}

void check_navigation_sample(const NavigationSample& sample, std::uint32_t count) {
  const auto size = sample.ids.size();
  const bool sized = size > 0 && sample.adjacency.size() == size * NavigationSample::kDegree;
  const bool ids_inside = std::all_of(sample.ids.begin(), sample.ids.end(), [&](auto id) { return id < count; });
  const bool edges_inside = std::all_of(sample.adjacency.begin(), sample.adjacency.end(), [&](std::uint32_t position) {
    return position == NavigationSample::kNone || position < size;
  });
  if (!sized || !ids_inside || !edges_inside) {
    throw Error(ErrorCode::kDataLoss, "the navigation sample of " + std::to_string(size) +
                                          " vertices does not fit an index of " + std::to_string(count) + " vectors");
  }
}

}  // namespace tiervec::graph_index
