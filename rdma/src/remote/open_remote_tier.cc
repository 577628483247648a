#include <tiervec/rdma/remote_tier.h>

#include <charconv>
#include <chrono>
#include <exception>
#include <utility>

#include <tiervec/rdma/replicated_tier.h>
#include <tiervec/rdma/striped_tier.h>
#include <tiervec/rdma/tcp_tier.h>

namespace tiervec::rdma {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kDefaultTimeout{500};
constexpr long kLongestTimeoutMs = 60'000;

/// The time-out after `?timeout_ms=`.
milliseconds timeout_of(const std::string& url) {
  constexpr std::string_view kKey = "timeout_ms=";
  const std::size_t mark = url.find('?');
  if (mark == std::string::npos) {
    return kDefaultTimeout;
  }
  const std::string_view option = std::string_view(url).substr(mark + 1);
  long value = 0;
  if (option.substr(0, kKey.size()) == kKey) {
    const char* const end = option.data() + option.size();
    const auto parsed = std::from_chars(option.data() + kKey.size(), end, value);
    if (parsed.ec == std::errc() && parsed.ptr == end && value >= 1 && value <= kLongestTimeoutMs) {
      return milliseconds(value);
    }
  }
  throw Error(ErrorCode::kInvalidArgument,
              "tier URL '" + url + "' ends in '" + std::string(option) +
                  "'; it takes timeout_ms=1 to timeout_ms=" + std::to_string(kLongestTimeoutMs));
}

/// What a node's own tier is called, in its messages.
std::string node_url(const std::string& url, const Attachment& attachment) {
  const std::size_t authority = url.find("://");
  const std::size_t slash = authority == std::string::npos ? authority : url.find('/', authority + 3);
  const std::string region = slash == std::string::npos ? "" : url.substr(slash, url.find('?', slash) - slash);
  const bool is_ipv6 = attachment.host.find(':') != std::string::npos;
  const std::string host = is_ipv6 ? "[" + attachment.host + "]" : attachment.host;
  return attachment.transport + "://" + host + ":" + std::to_string(attachment.port) + region;
}

std::shared_ptr<Tier> open_node(const std::string& url, const Attachment& attachment, milliseconds timeout,
                                bool check_at_open) {
  if (attachment.transport == "tcp") {
    return open_tcp_tier(url, attachment, {.timeout = timeout, .check_at_open = check_at_open});
  }
  throw Error(ErrorCode::kInvalidArgument,
              "tier " + url + " has the unknown transport '" + attachment.transport + "'; known are tcp, rdma");
}

std::shared_ptr<Tier> open_replica(const std::string& url, const std::vector<Attachment>& stripes, bool is_all,
                                   milliseconds timeout, bool check_at_open) {
  if (stripes.size() == 1) {
    const Attachment& only = stripes.front();
    return open_node(is_all ? url : node_url(url, only), only, timeout, check_at_open);
  }
  std::vector<std::shared_ptr<Tier>> tiers;
  tiers.reserve(stripes.size());
  for (const Attachment& stripe : stripes) {
    tiers.push_back(stripe.size_bytes == 0 ? nullptr
                                           : open_node(node_url(url, stripe), stripe, timeout, check_at_open));
  }
  return std::make_shared<StripedTier>(url, std::move(tiers));
}

/// True when the node may be back later as if nothing had been.
bool may_come_back(const Error& error) {
  return error.code() == ErrorCode::kUnavailable || error.code() == ErrorCode::kNotFound;
}

}  // namespace

std::shared_ptr<Tier> open_remote_tier(const std::string& url, const std::vector<std::vector<Attachment>>& replicas) {
  const milliseconds timeout = timeout_of(url);
  if (replicas.size() == 1) {
    return open_replica(url, replicas.front(), true, timeout, true);
  }
  std::vector<std::shared_ptr<Tier>> tiers;
  std::exception_ptr first_failure;
  std::size_t reached = 0;
  for (const std::vector<Attachment>& replica : replicas) {
    try {
      tiers.push_back(open_replica(url, replica, false, timeout, true));
      ++reached;
    } catch (const Error& error) {
      if (!may_come_back(error)) {
        throw;
      }
      first_failure = first_failure ? first_failure : std::current_exception();
      tiers.push_back(open_replica(url, replica, false, timeout, false));
    }
  }
  if (reached == 0 && first_failure) {
    std::rethrow_exception(first_failure);
  }
  return std::make_shared<ReplicatedTier>(url, std::move(tiers));
}

}  // namespace tiervec::rdma
