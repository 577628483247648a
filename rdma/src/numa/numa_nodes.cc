#include <tiervec/rdma/numa_nodes.h>

#include <algorithm>
#include <cstdint>
#include <string_view>

#include <tiervec/core/parse_number.h>
#include <tiervec/core/system_file.h>

namespace tiervec::rdma {

namespace {

constexpr unsigned kMostNodes = 4096;  // more than any kernel is built for: a damaged list ends here

/// "0-1,3" as numbers.
std::vector<unsigned> parse_list(std::string_view text) {
  const auto take = [&](char sign) {
    const bool found = text.starts_with(sign);
    if (found) text.remove_prefix(1);
    return found;
  };
  std::vector<unsigned> numbers;
  do {
    const auto first = take_number<unsigned>(text);
    const auto last = first && take('-') ? take_number<unsigned>(text) : first;
    if (!last || *last >= kMostNodes) {
      break;
    }
    for (unsigned number = *first; number <= *last; ++number) {
      numbers.push_back(number);
    }
  } while (take(','));
  return numbers;
}

// Lines such as "Node 0 MemFree:         9253912 kB".
void read_meminfo(const std::filesystem::path& path, NumaNode& node) {
  const std::string text = read_system_file(path);
  for (std::string_view rest = text; !rest.empty();) {
    std::string_view line = take_line(rest);
    (void)take_word(line);  // "Node"
    (void)take_word(line);
    const std::string_view key = take_word(line);
    const auto kib = take_number<std::uint64_t>(line);
    if (!kib) {
      return;
    }
    if (key == "MemTotal:") {
      node.total_bytes = *kib * 1024;
    } else if (key == "MemFree:" || key == "Active(file):" || key == "Inactive(file):") {
      node.available_bytes += *kib * 1024;
    }
  }
}

}  // namespace

std::vector<NumaNode> numa_nodes(const std::filesystem::path& sysfs) {
  std::vector<NumaNode> nodes;
  for (const unsigned id : parse_list(read_system_file(sysfs / "online"))) {
    const std::filesystem::path folder = sysfs / ("node" + std::to_string(id));
    NumaNode node;
    node.id = id;
    node.cpus = read_system_file(folder / "cpulist");
    const std::string distances = read_system_file(folder / "distance");
    for (std::string_view rest = distances; const auto distance = take_number<unsigned>(rest);) {
      node.distances.push_back(*distance);
    }
    read_meminfo(folder / "meminfo", node);
    nodes.push_back(std::move(node));
  }
  return nodes;
}

NearestCpus nearest_cpus(const std::vector<NumaNode>& nodes, unsigned node) {
  NearestCpus nearest{node, 0};
  const auto place = static_cast<std::size_t>(
      std::find_if(nodes.begin(), nodes.end(), [&](const NumaNode& other) { return other.id == node; }) -
      nodes.begin());
  for (const NumaNode& other : nodes) {
    if (other.cpus.empty() || place >= other.distances.size()) {
      continue;
    }
    if (nearest.distance == 0 || other.distances[place] < nearest.distance) {
      nearest = {other.id, other.distances[place]};
    }
  }
  return nearest;
}

}  // namespace tiervec::rdma
