#pragma once

#include <sys/epoll.h>

#include <cstdint>

#include "../tcp/socket.h"

namespace tiervec::rdma {

// A descriptor is taken out of an epoll before it is closed. Closing alone takes it out only when no other process has
// it: one that was forked a moment ago has all of them, and events would go on pointing to what is gone.

/// epoll_ctl; `what` is what an event then points to. False when the system refuses.
inline bool watch(const Descriptor& epoll, int operation, int descriptor, std::uint32_t events, void* what) noexcept {
  epoll_event event{};
  event.events = events;
  event.data.ptr = what;
  return ::epoll_ctl(epoll.number(), operation, descriptor, &event) == 0;
}

}  // namespace tiervec::rdma
