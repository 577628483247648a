#pragma once

#include <sys/epoll.h>

#include <cstdint>

#include "../tcp/socket.h"

namespace tiervec::rdma {

/// epoll_ctl; `what` is what an event then points to. False when the system refuses.
inline bool watch(const Descriptor& epoll, int operation, int descriptor, std::uint32_t events, void* what) noexcept {
  epoll_event event{};
  event.events = events;
  event.data.ptr = what;
  return ::epoll_ctl(epoll.number(), operation, descriptor, &event) == 0;
}

}  // namespace tiervec::rdma
