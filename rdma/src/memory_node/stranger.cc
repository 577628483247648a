#include "stranger.h"

#include <sys/socket.h>

#include <cerrno>
#include <span>

namespace tiervec::rdma {

namespace {

constexpr std::size_t kDiscardedBytes = 64 * 1024;

}  // namespace

Stranger::Turn Stranger::advance(const RegionTable& regions, ReaderSlots& slots) noexcept {
  for (;;) {
    const std::size_t room = hello_.size() - hello_bytes_;
    const ssize_t got = ::recv(socket_.number(), &hello_[hello_bytes_], room, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      return Turn::kWaits;
    }
    if (got <= 0) {
      return Turn::kGone;
    }
    hello_bytes_ += static_cast<std::size_t>(got);
    wire::Hello hello;
    switch (wire::parse(std::span(hello_).first(hello_bytes_), hello)) {
      case wire::Parsed::kPart:
        continue;
      case wire::Parsed::kGarbage:
        return Turn::kRefused;
      case wire::Parsed::kWhole:
        break;
    }
    const wire::Answer said = answer(hello, regions, slots);
    if (said == wire::Answer::kAccepted) {
      return Turn::kGreeted;
    }
    refusal_ = said;
    return said == wire::Answer::kFullForAddress ? Turn::kOverShare : Turn::kRefused;
  }
}

void Stranger::turn_away() const noexcept {
  if (refusal_) {
    rdma::turn_away(socket_, *refusal_);
  }
}

wire::Answer Stranger::answer(const wire::Hello& hello, const RegionTable& regions, ReaderSlots& slots) noexcept {
  if (hello.version != wire::kVersion) {
    return wire::Answer::kWrongVersion;
  }
  auto region = regions.find(hello.region_id);
  if (region == nullptr) {
    return wire::Answer::kUnknownRegion;
  }
  if (!wire::same_token(region->token, hello.token)) {
    return wire::Answer::kWrongToken;
  }
  if (const wire::Answer full = answer_for(slots.room(address_)); full != wire::Answer::kAccepted) {
    return full;
  }
  slot_ = slots.take(address_);  // nobody else takes places
  if (!slot_) {
    return wire::Answer::kFull;
  }
  region_ = std::move(region);
  return wire::Answer::kAccepted;
}

wire::Answer answer_for(ReaderSlots::Room room) noexcept {
  switch (room) {
    case ReaderSlots::Room::kFull:
      return wire::Answer::kFull;
    case ReaderSlots::Room::kFullForAddress:
      return wire::Answer::kFullForAddress;
    case ReaderSlots::Room::kFree:
      break;
  }
  return wire::Answer::kAccepted;
}

void turn_away(const Descriptor& socket, wire::Answer answer) noexcept {
  // A socket that is closed with unread bytes resets the connection, and the client may lose the answer.
  std::byte unused[kDiscardedBytes];
  (void)!::recv(socket.number(), unused, sizeof unused, MSG_DONTWAIT);
  const auto welcome = wire::encode(wire::Welcome{.answer = answer});
  (void)!::send(socket.number(), welcome.data(), welcome.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

}  // namespace tiervec::rdma
