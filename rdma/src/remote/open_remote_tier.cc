#include <tiervec/rdma/remote_tier.h>

#include <chrono>
#include <exception>
#include <utility>

#include <tiervec/rdma/rdma_tier.h>
#include <tiervec/rdma/remote_url.h>
#include <tiervec/rdma/replicated_tier.h>
#include <tiervec/rdma/striped_tier.h>
#include <tiervec/rdma/tcp_tier.h>

namespace tiervec::rdma {

namespace {

using std::chrono::milliseconds;

/// What a node's own tier is called, in its messages.
std::string node_url(const RemoteUrl& url, const Attachment& attachment) {
  const bool is_ipv6 = attachment.host.find(':') != std::string::npos;
  const std::string host = is_ipv6 ? "[" + attachment.host + "]" : attachment.host;
  return attachment.transport + "://" + host + ":" + std::to_string(attachment.port) + "/" + url.region;
}

std::shared_ptr<Tier> open_node(const std::string& url, const Attachment& attachment, milliseconds timeout,
                                bool check_at_open) {
  if (attachment.transport == "tcp") {
    return open_tcp_tier(url, attachment, {.timeout = timeout, .check_at_open = check_at_open});
  }
  if (attachment.transport == "rdma") {
    return open_rdma_tier(url, attachment, {.timeout = timeout, .check_at_open = check_at_open});
  }
  throw Error(ErrorCode::kInvalidArgument,
              "tier " + url + " has the unknown transport '" + attachment.transport + "'; known are tcp, rdma");
}

std::shared_ptr<Tier> open_replica(const std::string& url, const std::vector<Attachment>& stripes,
                                   const RemoteUrl& parsed, bool check_at_open) {
  if (stripes.size() == 1) {
    const Attachment& only = stripes.front();
    const bool is_all = parsed.replicas.size() == 1;
    return open_node(is_all ? url : node_url(parsed, only), only, parsed.timeout, check_at_open);
  }
  std::vector<std::shared_ptr<Tier>> tiers;
  tiers.reserve(stripes.size());
  for (const Attachment& stripe : stripes) {
    tiers.push_back(
        stripe.size_bytes == 0 ? nullptr : open_node(node_url(parsed, stripe), stripe, parsed.timeout, check_at_open));
  }
  return std::make_shared<StripedTier>(url, std::move(tiers));
}

/// True when the node may be back later as if nothing had been.
bool may_come_back(const Error& error) {
  return error.code() == ErrorCode::kUnavailable || error.code() == ErrorCode::kNotFound;
}

}  // namespace

std::shared_ptr<Tier> open_remote_tier(const std::string& url, const std::vector<std::vector<Attachment>>& replicas) {
  const RemoteUrl parsed = parse_remote_url(parse_tier_url(url));
  if (replicas.size() == 1) {
    return open_replica(url, replicas.front(), parsed, true);
  }
  std::vector<std::shared_ptr<Tier>> tiers;
  std::exception_ptr first_failure;
  std::size_t reached = 0;
  for (const std::vector<Attachment>& replica : replicas) {
    try {
      tiers.push_back(open_replica(url, replica, parsed, true));
      ++reached;
    } catch (const Error& error) {
      if (!may_come_back(error)) {
        throw;
      }
      first_failure = first_failure ? first_failure : std::current_exception();
      tiers.push_back(open_replica(url, replica, parsed, false));
    }
  }
  if (reached == 0 && first_failure) {
    std::rethrow_exception(first_failure);
  }
  return std::make_shared<ReplicatedTier>(url, std::move(tiers));
}

}  // namespace tiervec::rdma
