#include <tiervec/rdma/remote_url.h>

#include <algorithm>
#include <limits>
#include <string_view>

#include <tiervec/core/parse_number.h>
#include <tiervec/core/status.h>

namespace tiervec::rdma {

namespace {

constexpr std::size_t kLongestRegion = 128;
constexpr std::string_view kTimeoutKey = "timeout_ms=";

[[noreturn]] void refuse(const TierUrl& url, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument,
              "tier URL '" + url.text + "' " + what + "; right is " + url.scheme +
                  "://HOST:PORT/REGION, with '+' between nodes of a stripe and ',' between replicas");
}

/// A whole number in [1, most], or 0.
template <class T>
T positive(std::string_view text, T most) {
  const T value = parse_number<T>(text).value_or(0);
  return value <= most ? value : 0;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) {
      return parts;
    }
    text.remove_prefix(at + 1);
  }
}

NodeName parse_node(const TierUrl& url, std::string_view text) {
  const std::string quoted = "'" + std::string(text) + "'";
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    refuse(url, "names the node " + quoted + " without a port");
  }
  std::string_view host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.empty() || host.find_first_of("[]:@") != std::string_view::npos) {
    refuse(url, "names the node " + quoted + ", whose host is none");
  }
  const auto port = positive<std::uint16_t>(text.substr(colon + 1), std::numeric_limits<std::uint16_t>::max());
  if (port == 0) {
    refuse(url, "names the node " + quoted + ", whose port is not between 1 and 65535");
  }
  return {std::string(host), port};
}

std::string parse_region(const TierUrl& url, std::string_view text) {
  constexpr std::string_view kAllowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  if (text.empty() || text.size() > kLongestRegion || text.find_first_not_of(kAllowed) != std::string_view::npos) {
    refuse(url, "names the region '" + std::string(text) + "'; a region has 1 to 128 of A-Z a-z 0-9 . _ -");
  }
  return std::string(text);
}

std::chrono::milliseconds parse_query(const TierUrl& url, std::string_view text) {
  const bool known = text.substr(0, kTimeoutKey.size()) == kTimeoutKey;
  const auto ms = known ? positive<std::int64_t>(text.substr(kTimeoutKey.size()), 600'000) : 0;
  if (ms <= 0) {
    refuse(url, "ends in '?" + std::string(text) + "'; only ?timeout_ms=1 to 600000 may stand there");
  }
  return std::chrono::milliseconds(ms);
}

}  // namespace

RemoteUrl parse_remote_url(const TierUrl& url) {
  std::string_view rest = url.rest;
  if (rest.substr(0, 2) != "//") {
    refuse(url, "has no '//' after '" + url.scheme + ":'");
  }
  rest.remove_prefix(2);
  RemoteUrl parsed;
  if (const std::size_t query = rest.find('?'); query != std::string_view::npos) {
    parsed.timeout = parse_query(url, rest.substr(query + 1));
    rest = rest.substr(0, query);
  }
  const std::size_t slash = rest.find('/');
  if (slash == std::string_view::npos) {
    refuse(url, "names no region");
  }
  parsed.region = parse_region(url, rest.substr(slash + 1));
  for (const std::string_view replica : split(rest.substr(0, slash), ',')) {
    std::vector<NodeName>& nodes = parsed.replicas.emplace_back();
    for (const std::string_view node : split(replica, '+')) {
      nodes.push_back(parse_node(url, node));
    }
  }
  return parsed;
}

std::shared_ptr<Tier> refuse_to_attach(const TierUrl& url, const std::string& /*region_path*/) {
  throw Error(ErrorCode::kUnsupported,
              "the region of " + url.text + " is not a file: it is attached through the memory node's control plane");
}

}  // namespace tiervec::rdma
