#pragma once

#include <cstddef>
#include <cstdint>

namespace tiervec::rdma {

/// True where write_back_cache_lines exists: x86-64.
bool can_write_back_cache_lines() noexcept;

/// Waits until a range that was stored to has left the caches for the memory it belongs to.
void write_back_cache_lines(const std::byte* from, std::uint64_t bytes) noexcept;

}  // namespace tiervec::rdma
