#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace tiervec::rdma {

/// Grants reads of one region on the data plane of one memory node, and nothing else.
using AttachToken = std::array<std::byte, 16>;

/// What one memory node said about one region, or about its stripe of one: all that a compute node needs to read it.
struct Attachment {
  std::string transport;  // "tcp" or "rdma"
  std::string host;       // of the data plane
  std::uint16_t port = 0;
  std::uint64_t region_id = 0;  // unique on its node; another version of a region has another one
  std::uint64_t size_bytes = 0;
  AttachToken token{};
  std::uint64_t remote_address = 0;  // rdma: where the registered region begins
  std::uint32_t remote_key = 0;      // rdma: its rkey
};

}  // namespace tiervec::rdma
