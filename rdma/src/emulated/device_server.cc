#include <algorithm>

#include <tiervec/rdma/emulated_tier.h>

namespace tiervec::rdma {

// Relaxed: the value is a time and orders nothing else.
Ticks DeviceServer::reserve(Ticks now, Ticks ticks) noexcept {
  Ticks free_at = free_at_.load(std::memory_order_relaxed);
  Ticks start = 0;
  do {
    start = std::max(free_at, now);
  } while (!free_at_.compare_exchange_weak(free_at, start + ticks, std::memory_order_relaxed));
  return start;
}

}  // namespace tiervec::rdma
