#pragma once

#include <chrono>
#include <memory>
#include <string>

#include <tiervec/core/tick_clock.h>
#include <tiervec/rdma/attachment.h>
#include <tiervec/rdma/tier.h>

namespace tiervec::rdma {

struct TcpOptions {
  /// How long a node may take to answer a batch, to accept a connection and to answer a handshake. After that the
  /// connection is given up, its batches fail with kUnavailable, and the queue connects again.
  std::chrono::milliseconds timeout{500};
  /// Connects once to see that the node serves the region to this token, and measures the profile (about 30 ms). Off:
  /// opens without touching the network, for a replica that may be down now; the profile is nominal.
  bool check_at_open = true;
  /// What the time-outs and the pauses between attempts are measured with.
  TimeSource time = {};
};

/// `tcp://HOST:PORT/REGION`: a region of one memory node, read through sockets. One connection for each queue.
///
/// A queue connects when it is opened, waiting for at most the time-out, and by itself ever after, in poll: at once
/// when the node closed the connection, then 10 ms to 1 s apart. A batch that was sent when its connection went, or
/// submitted while there is none, fails with kUnavailable. So open_queue throws nothing for a node that is down.
///
/// A batch whose reads have more than 32 MiB in all fails with kInvalidArgument.
///
/// Throws Error with check_at_open: kUnavailable (no node there, or no answer in time), kNotFound (the node does not
/// serve this region), kInvalidArgument (wrong token, region of another size), kUnsupported (another protocol version).
std::shared_ptr<Tier> open_tcp_tier(const std::string& url, const Attachment& attachment, TcpOptions options = {});

}  // namespace tiervec::rdma
