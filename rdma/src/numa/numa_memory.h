#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace tiervec::rdma {

/// Has the kernel put the pages of `memory`, none of which was touched yet, on a node. `what` begins the error.
///
/// Preferred, not bound: when the node is full, pages of bound memory cannot be brought in and the kernel kills the
/// process, pages of preferred memory land elsewhere, which count_pages_elsewhere finds. Memory with a policy of its
/// own is not moved by automatic balancing later. Throws Error: kInvalidArgument (the node is not this process's to
/// use), kUnsupported (a kernel or a sandbox without the call).
void place_on_node(std::span<std::byte> memory, unsigned node, const std::string& what);

struct PageCount {
  std::uint64_t looked_at = 0;  // pages that are in memory; of a large region a sample, evenly spread. 0: not known
  std::uint64_t elsewhere = 0;  // of those, on another node
};
PageCount count_pages_elsewhere(std::span<const std::byte> memory, unsigned node);

}  // namespace tiervec::rdma
