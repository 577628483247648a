#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <tiervec/rdma/tier.h>

namespace tiervec::rdma {

/// Copies bytes [offset, offset + length) of a tier, for checks and not for speed. Throws the tier's error,
/// kInvalidArgument for a range outside of it, kDeadlineExceeded when they have not come within `timeout`. A tier with
/// replicas answers each attempt from another one.
std::vector<std::byte> read_bytes(Tier& tier, std::uint64_t offset, std::uint64_t length, std::uint32_t attempt = 0,
                                  std::chrono::milliseconds timeout = std::chrono::seconds(10));

}  // namespace tiervec::rdma
