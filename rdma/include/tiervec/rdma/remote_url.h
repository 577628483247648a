#pragma once

// tcp://h1:p1+h2:p2,h3:p3+h4:p4/REGION?timeout_ms=500
//
// ',' separates replicas of the region, '+' the nodes that a replica is striped over. HOST:PORT is a memory node's
// control plane; an IPv6 address stands in brackets.

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <tiervec/rdma/tier_registry.h>

namespace tiervec::rdma {

struct NodeName {
  std::string host;
  std::uint16_t port = 0;
};

struct RemoteUrl {
  std::vector<std::vector<NodeName>> replicas;  // at least one, of at least one node each
  std::string region;
  std::chrono::milliseconds timeout{500};  // within which a node has to answer
};

/// The parts of a URL of memory nodes. Throws kInvalidArgument naming what is wrong. Touches no network.
RemoteUrl parse_remote_url(const TierUrl& url);

/// A region of memory nodes is attached through their control plane, which is done in Python: this throws kUnsupported.
std::shared_ptr<Tier> refuse_to_attach(const TierUrl& url, const std::string& region_path);

inline constexpr TierScheme kTcpScheme{"tcp", "tcp://HOST:PORT/REGION", "a region of a memory node, read through TCP",
                                       [](const TierUrl& url) { (void)parse_remote_url(url); }, refuse_to_attach};

}  // namespace tiervec::rdma
