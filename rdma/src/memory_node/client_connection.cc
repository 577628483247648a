#include "client_connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

namespace tiervec::rdma {

namespace {

constexpr int kReceivesInARow = 8;  // then the other connections of the loop have their turn
constexpr std::uint32_t kLineBytes = 64;
constexpr std::uint32_t kPrefetchedLines = 16;
constexpr std::uint32_t kReadsAhead = 16;

// The reads of a request are all over the region: the lines of those that come next are asked for while one is copied.
// Always inlined: g++ drops calls to a function that only prefetches.
[[gnu::always_inline]] inline void prefetch(const std::byte* data, std::uint32_t bytes) noexcept {
  const std::uint32_t lines = std::min((bytes + kLineBytes - 1) / kLineBytes, kPrefetchedLines);
  for (std::uint32_t i = 0; i < lines; ++i) {
    __builtin_prefetch(data + i * kLineBytes, 0, 3);
  }
}

}  // namespace

ClientConnection::ClientConnection(Greeted greeted, ServerCounters& counters, std::uint64_t turn_bytes, Time now)
    : socket_(std::move(greeted.socket)),
      counters_(counters),
      region_(std::move(greeted.region)),
      slot_(std::move(greeted.slot)),
      waiting_since_(now),
      turn_bytes_(std::max<std::uint64_t>(turn_bytes, 1)),
      input_(std::make_unique_for_overwrite<std::byte[]>(kInputBytes)),
      copied_(std::make_unique_for_overwrite<std::byte[]>(kCopyBytes)),
      welcome_(wire::encode(wire::Welcome{.answer = wire::Answer::kAccepted, .region_bytes = region_->size_bytes})) {
  set_socket_options(socket_);
  add_piece(welcome_.data(), welcome_.size());
}

ClientConnection::Turn ClientConnection::advance(Time now) noexcept {
  turn_left_ = turn_bytes_;
  const Turn turn = take_turn(now);
  const std::uint64_t sent = turn_bytes_ - turn_left_;
  if (sent > counters_.largest_turn_bytes.load(std::memory_order_relaxed)) {
    counters_.largest_turn_bytes.store(sent, std::memory_order_relaxed);
  }
  if (turn == Turn::kMore) {
    counters_.cut_turns.fetch_add(1, std::memory_order_relaxed);
  }
  return turn;
}

ClientConnection::Turn ClientConnection::take_turn(Time now) noexcept {
  drained_ = false;
  receives_ = last_receives_ ? receives_ : 0;
  for (;;) {
    if (!send(now)) {
      return Turn::kOver;
    }
    if (sending()) {
      return turn_left_ == 0 ? Turn::kMore : Turn::kWaits;
    }
    if (!refused_ && answer()) {
      continue;
    }
    if (refused_) {
      return Turn::kOver;
    }
    if (drained_ || receives_++ >= kReceivesInARow) {
      return last_receives_ ? Turn::kOver : Turn::kWaits;
    }
    if (!receive()) {
      return Turn::kOver;
    }
  }
}

std::int64_t ClientConnection::send_pieces() noexcept {
  msghdr message{};
  message.msg_iov = &pieces_[first_piece_];
  message.msg_iovlen = piece_count_ - first_piece_;
  iovec* cut = nullptr;  // the piece that the turn ends in
  std::size_t whole_bytes = 0;
  if (unsent_bytes_ > turn_left_) {
    std::size_t before = 0;
    cut = message.msg_iov;
    while (cut->iov_len <= turn_left_ - before) {
      before += (cut++)->iov_len;
    }
    whole_bytes = std::exchange(cut->iov_len, turn_left_ - before);
    message.msg_iovlen = static_cast<std::size_t>(cut - message.msg_iov) + 1;
  }
  const ssize_t got = ::sendmsg(socket_.number(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (cut != nullptr) {
    cut->iov_len = whole_bytes;
  }
  return got;
}

bool ClientConnection::send(Time now) noexcept {
  while (sending() && turn_left_ > 0) {
    const std::int64_t got = send_pieces();
    if (got < 0) {
      if (errno == EINTR) {
        continue;
      }
      return errno == EAGAIN || errno == EWOULDBLOCK;
    }
    waiting_since_ = now;
    auto sent = static_cast<std::size_t>(got);
    unsent_bytes_ -= sent;
    turn_left_ -= sent;
    if (unsent_bytes_ == 0) {
      first_piece_ = piece_count_;
      break;
    }
    while (sent >= pieces_[first_piece_].iov_len) {
      sent -= pieces_[first_piece_++].iov_len;
    }
    pieces_[first_piece_].iov_base = static_cast<std::byte*>(pieces_[first_piece_].iov_base) + sent;
    pieces_[first_piece_].iov_len -= sent;
  }
  if (sending()) {
    return true;
  }
  first_piece_ = piece_count_ = 0;
  copied_bytes_ = 0;
  return true;
}

bool ClientConnection::receive() noexcept {
  if (input_begin_ > 0) {  // less than one message is left
    std::memmove(&input_[0], &input_[input_begin_], input_end_ - input_begin_);
    input_end_ -= std::exchange(input_begin_, 0);
  }
  const std::size_t room = kInputBytes - input_end_;
  ssize_t got = 0;
  do {
    got = ::recv(socket_.number(), &input_[input_end_], room, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  // Under load the next requests arrive while a reply is sent: looking for them costs less than being told of them.
  if (got < 0) {
    drained_ = errno == EAGAIN || errno == EWOULDBLOCK;
    return drained_;
  }
  input_end_ += static_cast<std::size_t>(got);
  return got > 0;
}

bool ClientConnection::answer() noexcept {
  std::uint64_t reads = 0;
  std::uint64_t bytes = 0;
  wire::Parsed parsed = wire::Parsed::kWhole;
  while (piece_count_ + 1 + wire::kMostReads <= kMostPieces && copied_bytes_ < kEnoughCopied) {
    wire::Request request;
    parsed = wire::parse(std::span(&input_[input_begin_], input_end_ - input_begin_), request);
    if (parsed != wire::Parsed::kWhole) {
      break;
    }
    const std::size_t before = unsent_bytes_;
    gather(request);
    input_begin_ += request.message_bytes();
    reads += request.count;
    bytes += unsent_bytes_ - before - wire::kReplyHeaderBytes;
  }
  if (parsed == wire::Parsed::kGarbage && piece_count_ == 0) {
    refuse();
  }
  if (reads > 0) {
    counters_.reads.fetch_add(reads, std::memory_order_relaxed);
    counters_.bytes.fetch_add(bytes, std::memory_order_relaxed);
  }
  return piece_count_ > 0;
}

// Short reads are copied here, where the wait for the next ones is hidden; the kernel then copies one piece, which it
// does much faster than many. Of a long read it finds the lines itself.
void ClientConnection::gather(const wire::Request& request) noexcept {
  const std::byte* const data = region_->data;
  const std::uint64_t size = region_->size_bytes;
  for (std::uint32_t i = 0; i < request.count; ++i) {
    const Read read = request.read(i);
    // Written so that no sum can overflow.
    if (read.length == 0 || read.length > size || read.offset > size - read.length) [[unlikely]] {
      wire::encode_header(add_copied(wire::kReplyHeaderBytes), {wire::Outcome::kOutsideRegion, request.batch_id, 0});
      return;
    }
    if (i < kReadsAhead) {
      prefetch(data + read.offset, read.length);
    }
  }
  wire::encode_header(add_copied(wire::kReplyHeaderBytes), {wire::Outcome::kOk, request.batch_id, request.reply_bytes});
  for (std::uint32_t i = 0; i < request.count; ++i) {
    if (i + kReadsAhead < request.count) {
      const Read ahead = request.read(i + kReadsAhead);
      prefetch(data + ahead.offset, ahead.length);
    }
    const Read read = request.read(i);
    if (read.length <= std::min<std::size_t>(kLongestCopied, kCopyBytes - copied_bytes_)) {
      std::memcpy(add_copied(read.length), data + read.offset, read.length);
    } else {
      add_piece(data + read.offset, read.length);
    }
  }
}

void ClientConnection::refuse() noexcept {
  refused_ = true;
  counters_.refused.fetch_add(1, std::memory_order_relaxed);
}

std::byte* ClientConnection::add_copied(std::size_t bytes) noexcept {
  std::byte* const at = &copied_[copied_bytes_];
  copied_bytes_ += bytes;
  if (piece_count_ > 0) {
    iovec& last = pieces_[piece_count_ - 1];
    if (static_cast<std::byte*>(last.iov_base) + last.iov_len == at) {
      last.iov_len += bytes;
      unsent_bytes_ += bytes;
      return at;
    }
  }
  add_piece(at, bytes);
  return at;
}

void ClientConnection::add_piece(const std::byte* data, std::size_t bytes) noexcept {
  pieces_[piece_count_++] = {const_cast<std::byte*>(data), bytes};  // sendmsg only reads
  unsent_bytes_ += bytes;
}

}  // namespace tiervec::rdma
