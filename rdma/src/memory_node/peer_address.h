#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <compare>
#include <cstddef>
#include <cstring>

namespace tiervec::rdma {

/// Where a client comes from, as far as it cannot choose that: its IPv4 address, or the /64 network of its IPv6
/// address.
struct PeerAddress {
  std::array<unsigned char, 16> bytes{};  // IPv4 as ::ffff:a.b.c.d, whichever socket it came to

  friend auto operator<=>(const PeerAddress&, const PeerAddress&) = default;
};

/// The address in what accept wrote. All families without addresses count as one address.
inline PeerAddress peer_address(const sockaddr_storage& storage) noexcept {
  constexpr std::size_t kNetworkBytes = 8;
  constexpr std::array<unsigned char, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  PeerAddress address;
  if (storage.ss_family == AF_INET) {
    sockaddr_in ipv4;
    std::memcpy(&ipv4, &storage, sizeof ipv4);
    std::ranges::copy(kMapped, address.bytes.begin());
    std::memcpy(&address.bytes[kMapped.size()], &ipv4.sin_addr, sizeof ipv4.sin_addr);
  } else if (storage.ss_family == AF_INET6) {
    sockaddr_in6 ipv6;
    std::memcpy(&ipv6, &storage, sizeof ipv6);
    std::memcpy(address.bytes.data(), &ipv6.sin6_addr, address.bytes.size());
    if (!std::equal(kMapped.begin(), kMapped.end(), address.bytes.begin())) {
      std::fill(address.bytes.begin() + kNetworkBytes, address.bytes.end(), static_cast<unsigned char>(0));
    }
  }
  return address;
}

}  // namespace tiervec::rdma
