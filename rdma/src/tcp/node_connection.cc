#include "node_connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace tiervec::rdma {

namespace {

constexpr double kFirstBackoffMs = 10;
constexpr double kLastBackoffMs = 1000;

Ticks ticks_of_ms(double ms) {
  return static_cast<Ticks>(ms * 1e6 * TickClock::ticks_per_ns());
}

}  // namespace

NodeConnection::NodeConnection(const NodeAddress& node)
    : node_(node),
      timeout_ticks_(ticks_of_ms(static_cast<double>(node.timeout.count()))),
      backoff_ms_(kFirstBackoffMs),
      random_(node.time.now() ^ reinterpret_cast<std::uintptr_t>(this)) {}

void NodeConnection::advance(Ticks now) noexcept {
  switch (state_) {
    case State::kDown:
      if (now >= retry_at_) {
        begin_attempt(now);
      }
      return;
    case State::kConnecting:
      switch (connect_outcome(socket_)) {
        case ConnectOutcome::kConnected:
          greet(now);
          return;
        case ConnectOutcome::kFailed:
          attempt_failed(errno, now);
          return;
        case ConnectOutcome::kPending:
          break;
      }
      break;
    case State::kGreeting:
      read_welcome(now);
      break;
    case State::kUp:
      return;
  }
  if ((state_ == State::kConnecting || state_ == State::kGreeting) && now >= give_up_at_) {
    attempt_failed(ETIMEDOUT, now);
  }
}

void NodeConnection::begin_attempt(Ticks now) noexcept {
  answer_ = wire::Answer::kAccepted;
  give_up_at_ = now + timeout_ticks_;
  socket_ = start_connect(node_.addresses[next_address_]);
  if (!socket_) {
    attempt_failed(errno, now);
    return;
  }
  state_ = State::kConnecting;
}

// A new socket has room for a hello.
void NodeConnection::greet(Ticks now) noexcept {
  const auto hello = wire::encode(wire::Hello{.region_id = node_.region_id, .token = node_.token});
  if (send(hello) != static_cast<std::ptrdiff_t>(hello.size())) {
    attempt_failed(errno, now);
    return;
  }
  welcome_bytes_ = 0;
  state_ = State::kGreeting;
}

void NodeConnection::read_welcome(Ticks now) noexcept {
  const std::ptrdiff_t got = receive(std::span(welcome_).subspan(welcome_bytes_));
  if (got < 0) {
    attempt_failed(errno != 0 ? errno : ECONNRESET, now);
    return;
  }
  welcome_bytes_ += static_cast<std::size_t>(got);
  wire::Welcome welcome;
  switch (wire::parse(std::span(welcome_).first(welcome_bytes_), welcome)) {
    case wire::Parsed::kPart:
      return;
    case wire::Parsed::kGarbage:
      attempt_failed(EPROTO, now);
      return;
    case wire::Parsed::kWhole:
      break;
  }
  answer_ = welcome.answer;
  node_version_ = welcome.version;
  node_region_bytes_ = welcome.region_bytes;
  if (answer_ != wire::Answer::kAccepted || node_region_bytes_ != node_.region_bytes) {
    attempt_failed(EACCES, now);
    return;
  }
  state_ = State::kUp;
  failures_ = 0;
  worked_ = false;
}

void NodeConnection::attempt_failed(int number, Ticks now) noexcept {
  socket_.reset();
  state_ = State::kDown;
  errno_ = number;
  next_address_ = (next_address_ + 1) % node_.addresses.size();
  if (++failures_ % node_.addresses.size() != 0) {
    retry_at_ = now;  // another address of the same host
    return;
  }
  hopeful_ = false;
  retry_later(now);
}

void NodeConnection::retry_later(Ticks now) noexcept {
  // Half of the time is drawn by lot: the queues of many clients do not come back all at once.
  random_ = random_ * 6364136223846793005ULL + 1442695040888963407ULL;
  const double share = 0.5 + 0.5 * static_cast<double>(random_ >> 32U) / 4294967296.0;
  retry_at_ = now + ticks_of_ms(backoff_ms_ * share);
  backoff_ms_ = std::min(2 * backoff_ms_, kLastBackoffMs);
}

void NodeConnection::drop(Loss loss, Ticks now) noexcept {
  socket_.reset();
  state_ = State::kDown;
  hopeful_ = worked_ && loss == Loss::kClosedByNode;
  if (hopeful_) {
    begin_attempt(now);
  } else {
    retry_later(now);
  }
}

void NodeConnection::wait_until_settled() {
  const std::uint32_t most_failures = failures_ + static_cast<std::uint32_t>(node_.addresses.size());
  while (!up() && failures_ < most_failures) {
    advance(node_.time.now());
    if (state_ == State::kConnecting || state_ == State::kGreeting) {
      pollfd waiting{.fd = socket_.number(),
                     .events = static_cast<short>(state_ == State::kConnecting ? POLLOUT : POLLIN),
                     .revents = 0};
      (void)::poll(&waiting, 1, 10);
    }
  }
}

std::ptrdiff_t NodeConnection::send(std::span<const std::byte> bytes) noexcept {
  for (;;) {
    const ssize_t sent = ::send(socket_.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      return sent;
    }
    if (errno != EINTR) {
      return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
    }
  }
}

std::ptrdiff_t NodeConnection::receive(std::span<std::byte> room) noexcept {
  for (;;) {
    const ssize_t got = ::recv(socket_.number(), room.data(), room.size(), MSG_DONTWAIT);
    if (got > 0) {
      if (!worked_ && up()) {
        worked_ = true;
        backoff_ms_ = kFirstBackoffMs;
      }
      return got;
    }
    if (got == 0) {
      errno = ECONNRESET;  // the node closed it
      return -1;
    }
    if (errno != EINTR) {
      return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
    }
  }
}

}  // namespace tiervec::rdma
