#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <tiervec/rdma/attachment.h>
#include <tiervec/rdma/remote_url.h>
#include <tiervec/rdma/tier.h>
#include <tiervec/rdma/tier_registry.h>

namespace tiervec::rdma {

struct RdmaOptions {
  /// How long a node may take to answer a batch and to accept a connection. After that the connection is given up, its
  /// batches fail with kUnavailable, and the queue connects again.
  std::chrono::milliseconds timeout{500};
  /// Connects once to see that the node serves the region to this token, and measures the profile (about 30 ms). Off:
  /// opens without touching the network, for a replica that may be down now; the profile is nominal.
  bool check_at_open = true;
  /// Reads of one queue that are with the device at once; 0: as many as it takes. The rest waits in the queue.
  std::uint32_t max_outstanding = 0;
};

/// `rdma://HOST:PORT/REGION`: a region of one memory node, read by one-sided RDMA READ: the node's CPU has no part in
/// it. One reliable connected queue pair for each queue, and registered buffers of the queue's own.
///
/// A flush posts one linked list of reads, so one doorbell. The last read of each batch is signalled; the queue pair
/// completes in order, so it stands for all before it. What exceeds the queue pair's depth waits in the queue.
///
/// A queue connects when it is opened, waiting for at most the time-out, and by itself ever after, in poll: 10 ms to 1
/// s apart. A batch that was sent when its connection went, or submitted while there is none, fails with kUnavailable.
/// So open_queue throws nothing for a node that is down; it throws kResourceExhausted when the buffers cannot be
/// registered.
///
/// Throws Error: kUnsupported (no libraries, no device), kInvalidArgument (no such host) and, with
/// check_at_open, kUnavailable (no node there, or no answer in time), kNotFound (the node does not serve this region),
/// kPermissionDenied (wrong token), kInvalidArgument (region of another size), kResourceExhausted (limit of locked
/// memory, `ulimit -l`).
std::shared_ptr<Tier> open_rdma_tier(const std::string& url, const Attachment& attachment, RdmaOptions options = {});

inline constexpr TierScheme kRdmaScheme{"rdma", "rdma://HOST:PORT/REGION",
                                        "a region of a memory node, read by one-sided RDMA READ",
                                        [](const TierUrl& url) { (void)parse_remote_url(url); }, refuse_to_attach};

/// What this process can do with RDMA.
struct VerbsStatus {
  bool available = false;            // libraries and at least one device
  std::string reason;                // why not, one sentence; empty when available
  std::vector<std::string> devices;  // of this machine, as in /sys/class/infiniband
};

VerbsStatus verbs_status();

}  // namespace tiervec::rdma
