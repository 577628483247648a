#include "entrance.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <utility>

#include "watch.h"

namespace tiervec::rdma {

namespace {

constexpr int kAcceptsInARow = 64;  // then the readers of the loop have their turn

Descriptor accepted_from(const Descriptor& listening, PeerAddress& address) noexcept {
  sockaddr_storage storage{};
  socklen_t bytes = sizeof storage;
  Descriptor socket(
      ::accept4(listening.number(), reinterpret_cast<sockaddr*>(&storage), &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC));
  address = peer_address(storage);
  return socket;
}

bool has_arrivals(const Descriptor& listening) noexcept {
  pollfd asked{.fd = listening.number(), .events = POLLIN, .revents = 0};
  return ::poll(&asked, 1, 0) > 0;
}

Descriptor make_reserve() noexcept {
  return Descriptor(::eventfd(0, EFD_CLOEXEC));
}

}  // namespace

Entrance::Entrance(const Descriptor& listening, const Descriptor& epoll, const RegionTable& regions, ReaderSlots& slots,
                   const RegionServerLimits& limits, ServerCounters& counters, std::function<void(Greeted)> on_greeted)
    : listening_(listening),
      epoll_(epoll),
      regions_(regions),
      slots_(slots),
      limits_(limits),
      counters_(counters),
      on_greeted_(std::move(on_greeted)),
      reserve_(make_reserve()) {
  listen();
}

void Entrance::accept(Time now) {
  for (int accepts = 0; accepts < kAcceptsInARow && listens_; ++accepts) {
    PeerAddress address;
    Descriptor socket = accepted_from(listening_, address);
    const int reason = errno;
    if (socket) {
      add(std::move(socket), address, now);
      continue;
    }
    if (reason == EMFILE || reason == ENFILE) {
      // The system wants a descriptor before it looks whether anybody is there.
      if (!has_arrivals(listening_)) {
        return;
      }
      if (!strangers_.empty()) {
        drop_greediest();
      } else if (!use_reserve()) {
        pause();
      }
    } else if (reason == ENOBUFS || reason == ENOMEM) {
      pause();
    } else if (reason == EAGAIN || reason == EWOULDBLOCK) {
      return;
    }  // else it is about that one connection
  }
}

void Entrance::add(Descriptor socket, const PeerAddress& address, Time now) {
  if (const wire::Answer full = answer_for(slots_.room(address)); full != wire::Answer::kAccepted) {
    turn_away_at_once(socket, full);
    return;
  }
  if (strangers_.size() >= limits_.max_strangers) {
    drop_greediest();
  }
  Stranger& stranger = strangers_.emplace_back(std::move(socket), address, now);
  if (!watch(epoll_, EPOLL_CTL_ADD, stranger.descriptor(), EPOLLIN, static_cast<Endpoint*>(&stranger))) {
    strangers_.pop_back();
  }
  count_strangers();
}

void Entrance::advance(Stranger& stranger) {
  const Stranger::Turn turn = stranger.advance(regions_, slots_);
  if (turn == Stranger::Turn::kWaits) {
    return;
  }
  (void)watch(epoll_, EPOLL_CTL_DEL, stranger.descriptor(), 0, nullptr);
  if (turn == Stranger::Turn::kRefused || turn == Stranger::Turn::kOverShare) {
    counters_.refused.fetch_add(1, std::memory_order_relaxed);
    counters_.over_share.fetch_add(turn == Stranger::Turn::kOverShare ? 1 : 0, std::memory_order_relaxed);
    stranger.turn_away();
  } else if (turn == Stranger::Turn::kGreeted) {
    on_greeted_(stranger.take());
  }
  strangers_.remove_if([&](const Stranger& other) { return &other == &stranger; });
  count_strangers();
}

void Entrance::sweep(Time now) {
  while (!strangers_.empty() && now - strangers_.front().since() > limits_.handshake_timeout) {
    drop(strangers_.begin());
  }
  if (!reserve_) {
    reserve_ = make_reserve();
  }
  listen();
}

void Entrance::close() {
  closed_ = true;
  pause();
  for (const Stranger& stranger : strangers_) {
    (void)watch(epoll_, EPOLL_CTL_DEL, stranger.descriptor(), 0, nullptr);
  }
  strangers_.clear();
  count_strangers();
}

void Entrance::turn_away_at_once(const Descriptor& socket, wire::Answer answer) noexcept {
  counters_.refused.fetch_add(1, std::memory_order_relaxed);
  counters_.over_share.fetch_add(answer == wire::Answer::kFullForAddress ? 1 : 0, std::memory_order_relaxed);
  turn_away(socket, answer);
}

void Entrance::drop_greediest() {
  std::map<PeerAddress, std::size_t> held;
  for (const Stranger& stranger : strangers_) {
    ++held[stranger.address()];
  }
  std::size_t most = 0;
  for (const auto& [address, count] : held) {
    most = std::max(most, count);
  }
  drop(std::ranges::find_if(strangers_, [&](const Stranger& each) { return held[each.address()] == most; }));
}

void Entrance::drop(Strangers::iterator stranger) {
  (void)watch(epoll_, EPOLL_CTL_DEL, stranger->descriptor(), 0, nullptr);
  strangers_.erase(stranger);
  counters_.refused.fetch_add(1, std::memory_order_relaxed);
  count_strangers();
}

bool Entrance::use_reserve() {
  if (!reserve_) {
    return false;
  }
  reserve_.reset();
  {
    PeerAddress address;
    const Descriptor socket = accepted_from(listening_, address);
    if (socket) {
      turn_away_at_once(socket, wire::Answer::kFull);
    }
  }
  reserve_ = make_reserve();
  return static_cast<bool>(reserve_);
}

void Entrance::listen() {
  if (!listens_ && !closed_) {
    listens_ = watch(epoll_, EPOLL_CTL_ADD, listening_.number(), EPOLLIN, const_cast<Descriptor*>(&listening_));
  }
}

// The clients stay in the backlog. Without the pause the loop would be told of them all the time.
void Entrance::pause() {
  if (std::exchange(listens_, false)) {
    (void)watch(epoll_, EPOLL_CTL_DEL, listening_.number(), 0, nullptr);
  }
}

void Entrance::count_strangers() noexcept {
  counters_.strangers.store(strangers_.size(), std::memory_order_relaxed);
}

}  // namespace tiervec::rdma
