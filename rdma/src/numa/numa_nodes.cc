#include <tiervec/rdma/numa_nodes.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <sstream>

namespace tiervec::rdma {

namespace {

constexpr unsigned kMostNodes = 4096;  // more than any kernel is built for: a damaged list ends here

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) {
    text.pop_back();
  }
  return text;
}

/// "0-1,3" as numbers.
std::vector<unsigned> parse_list(const std::string& text) {
  std::vector<unsigned> numbers;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    unsigned first = 0;
    auto parsed = std::from_chars(at, end, first);
    unsigned last = first;
    if (parsed.ec == std::errc() && parsed.ptr < end && *parsed.ptr == '-') {
      parsed = std::from_chars(parsed.ptr + 1, end, last);
    }
    if (parsed.ec != std::errc() || last >= kMostNodes) {
      break;
    }
    for (unsigned number = first; number <= last; ++number) {
      numbers.push_back(number);
    }
    at = parsed.ptr < end && *parsed.ptr == ',' ? parsed.ptr + 1 : end;
  }
  return numbers;
}

// Lines such as "Node 0 MemFree:         9253912 kB".
void read_meminfo(const std::filesystem::path& path, NumaNode& node) {
  std::ifstream file(path);
  std::string word;
  std::string id;
  std::string key;
  std::uint64_t kib = 0;
  std::string unit;
  while (file >> word >> id >> key >> kib) {
    std::getline(file, unit);
    if (key == "MemTotal:") {
      node.total_bytes = kib * 1024;
    } else if (key == "MemFree:" || key == "Active(file):" || key == "Inactive(file):") {
      node.available_bytes += kib * 1024;
    }
  }
}

}  // namespace

std::vector<NumaNode> numa_nodes(const std::filesystem::path& sysfs) {
  std::vector<NumaNode> nodes;
  for (const unsigned id : parse_list(text_of(sysfs / "online"))) {
    const std::filesystem::path folder = sysfs / ("node" + std::to_string(id));
    NumaNode node;
    node.id = id;
    node.cpus = text_of(folder / "cpulist");
    std::istringstream distances(text_of(folder / "distance"));
    node.distances.assign(std::istream_iterator<unsigned>(distances), {});
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
