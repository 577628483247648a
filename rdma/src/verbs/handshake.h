#pragma once

// What a client and a memory node tell each other while an RDMA connection is made, as private data of rdma_cm.
// Numbers are little-endian. A receiver sees the data padded with zeros to the size of the carrying message, so what
// follows is not looked at; a later version may use it.
//
//   client --request-->   "TVR1" | version 4 | region id 8 | attach token 16
//   node   --accept-->    "TVR1" | version 4 | address 8 | size 8 | key 4
//   node   --reject-->    "TVR1" | version 4 | refusal 4

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <tiervec/rdma/attachment.h>

namespace tiervec::rdma::verbs {

inline constexpr std::uint32_t kProtocolVersion = 1;

struct ConnectRequest {
  static constexpr std::size_t kBytes = 32;
  std::uint32_t version = kProtocolVersion;
  std::uint64_t region_id = 0;
  AttachToken token{};
};

struct ConnectAccept {
  static constexpr std::size_t kBytes = 28;
  std::uint32_t version = kProtocolVersion;
  std::uint64_t address = 0;  // of the registered region; another one after the node has started again
  std::uint64_t size_bytes = 0;
  std::uint32_t key = 0;
};

enum class Refusal : std::uint32_t {
  kVersion = 1,     // the node speaks `version`
  kRegion = 2,      // it does not serve this region
  kToken = 3,       // it serves it to another token
  kConnections = 4  // it has as many connections as it takes
};

struct ConnectReject {
  static constexpr std::size_t kBytes = 12;
  std::uint32_t version = kProtocolVersion;
  Refusal refusal = Refusal::kRegion;
};

std::array<std::byte, ConnectRequest::kBytes> encode(const ConnectRequest& request) noexcept;
std::array<std::byte, ConnectAccept::kBytes> encode(const ConnectAccept& accept) noexcept;
std::array<std::byte, ConnectReject::kBytes> encode(const ConnectReject& reject) noexcept;

// Nothing when it is not one: too short, or begins otherwise. Of another version only `version` means something.
std::optional<ConnectRequest> decode_request(std::span<const std::byte> data) noexcept;
std::optional<ConnectAccept> decode_accept(std::span<const std::byte> data) noexcept;
std::optional<ConnectReject> decode_reject(std::span<const std::byte> data) noexcept;

/// Takes the same time wherever two tokens differ.
bool same_token(const AttachToken& one, const AttachToken& other) noexcept;

}  // namespace tiervec::rdma::verbs
