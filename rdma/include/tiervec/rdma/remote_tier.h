#pragma once

#include <memory>
#include <string>
#include <vector>

#include <tiervec/rdma/attachment.h>
#include <tiervec/rdma/tier.h>

namespace tiervec::rdma {

/// The region that memory nodes serve: `replicas` copies of it, each in one or more stripes (ReplicatedTier over
/// StripedTier over the tier of each node). One copy on one node is that node's tier itself.
///
/// With several replicas those whose nodes cannot be reached now are taken in later; at least one must be there. Throws
/// Error: kInvalidArgument (no replica, sizes that are not those of one region, an unknown transport), and what opening
/// a node's tier throws.
std::shared_ptr<Tier> open_remote_tier(const std::string& url, const std::vector<std::vector<Attachment>>& replicas);

}  // namespace tiervec::rdma
