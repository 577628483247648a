#include <tiervec/rdma/numa_tier.h>

#include <algorithm>
#include <charconv>

#include <tiervec/rdma/load_store_queue.h>
#include <tiervec/rdma/numa_nodes.h>

#include "../region_file.h"
#include "numa_memory.h"

namespace tiervec::rdma {

namespace {

constexpr unsigned kLocalDistance = 10;

std::string mib(std::uint64_t bytes) {
  return std::to_string(bytes >> 20U) + " MiB";
}

const NumaNode& find_node(const std::vector<NumaNode>& nodes, unsigned id, const std::string& url) {
  if (nodes.empty()) {
    throw Error(ErrorCode::kUnsupported, "tier " + url + ": this kernel has no NUMA support");
  }
  std::string known;
  for (const NumaNode& node : nodes) {
    if (node.id == id) {
      return node;
    }
    known.append(known.empty() ? "" : ", ").append(std::to_string(node.id));
  }
  throw Error(ErrorCode::kNotFound,
              "tier " + url + ": there is no NUMA node " + std::to_string(id) + " on this machine; it has " + known);
}

void require_room(const NumaNode& node, std::uint64_t size_bytes, const std::string& what) {
  if (size_bytes > node.available_bytes) {
    throw Error(ErrorCode::kResourceExhausted, what + " needs " + mib(size_bytes) + " of memory, but NUMA node " +
                                                   std::to_string(node.id) + " has " + mib(node.available_bytes) +
                                                   " available of " + mib(node.total_bytes));
  }
}

std::string note_of(unsigned node, const NearestCpus& nearest, const PageCount& pages) {
  std::string note = "NUMA node " + std::to_string(node);
  if (nearest.distance == 0) {
    note += ", at an unknown distance";
  } else if (nearest.node == node) {
    note += ", with CPUs of its own";
  } else {
    note += ", at distance " + std::to_string(nearest.distance) + " from the nearest CPUs, those of node " +
            std::to_string(nearest.node);
  }
  if (pages.looked_at == 0) {
    return note + "; the kernel does not tell where the pages are";
  }
  if (pages.elsewhere > 0) {
    note += "; " + std::to_string(pages.elsewhere) + " of " + std::to_string(pages.looked_at) +
            " pages looked at are on other nodes, because it was full";
  }
  return note;
}

}  // namespace

unsigned parse_numa_node(const TierUrl& url) {
  unsigned node = 0;
  const char* const end = url.rest.data() + url.rest.size();
  const auto parsed = std::from_chars(url.rest.data(), end, node);
  if (parsed.ec != std::errc() || parsed.ptr != end) {
    throw Error(ErrorCode::kInvalidArgument, "tier URL '" + url.text + "' has '" + url.rest +
                                                 "' after 'numa:'; it takes the number of a NUMA node, such as numa:1");
  }
  return node;
}

NumaTier::NumaTier(std::string url, unsigned node, MemoryRegion region)
    : url_(std::move(url)), region_(std::move(region)) {
  const NearestCpus nearest = nearest_cpus(numa_nodes(), node);
  // Typical of local memory, slower by the firmware's own estimate of the distance; `tiervec profile` measures it.
  const double farther = static_cast<double>(std::max(nearest.distance, kLocalDistance)) / kLocalDistance;
  profile_ = {.latency_us = 0.1 * farther, .reads_per_s = 80e6 / farther, .bytes_per_s = 12e9, .block_bytes = 64};
  profile_.note = note_of(node, nearest, count_pages_elsewhere({region_.data(), region_.size_bytes()}, node));
}

std::shared_ptr<Tier> NumaTier::open(const TierUrl& url, const std::string& region_path) {
  const unsigned id = parse_numa_node(url);
  const std::vector<NumaNode> nodes = numa_nodes();
  const NumaNode& node = find_node(nodes, id, url.text);
  require_room(node, RegionFile(region_path).size_bytes(), "region file '" + region_path + "'");
  return std::make_shared<NumaTier>(url.text, id, MemoryRegion::load_on_node(region_path, id));
}

std::unique_ptr<TierQueue> NumaTier::make_queue(const QueueLimits& limits) {
  return std::make_unique<LoadStoreQueue>(shared_from_this(), LoadStoreTarget(region_, limits.max_read_bytes),
                                          limits.max_reads);
}

}  // namespace tiervec::rdma
