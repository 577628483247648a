#pragma once

// What a compute node and a memory node say to each other over TCP. Little-endian.
//
//   client: hello                              node: welcome; then it closes, unless it accepted
//     0  8  magic                                0  8  magic
//     8  2  version                              8  2  version of the node
//    10  6  zero                                10  2  answer
//    16  8  region id                           12  4  zero
//    24 16  attach token                        16  8  bytes of the region
//
//   client: request, a batch of reads          node: reply, one for each request, in their order
//     0  2  kind                                 0  2  kind
//     2  2  reads: 1 to 128                      2  2  outcome
//     4  4  batch id, the client's own           4  4  batch id
//     8     reads of 8 offset, 4 length          8  4  bytes that follow: the reads', one after the other; 0 unless kOk
//
// A client sends as many requests as it likes before it takes a reply: a flush is one send. The first ten bytes of a
// hello and of a welcome stay as they are in every version. Who sends anything else (another kind, no reads, more than
// 128, more bytes asked for than kMostReplyBytes) is not answered: the connection is closed.
//
// The token guards against reading by accident or by guessing. The bytes are not encrypted: the data plane belongs on a
// network that is trusted.

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <tiervec/rdma/attachment.h>
#include <tiervec/rdma/tier.h>

namespace tiervec::rdma::wire {

static_assert(std::endian::native == std::endian::little, "the wire is little-endian, and so are the index files");

// A high bit, line ends and a ^Z: no text protocol, no TLS, and nothing that has passed through a text mode.
inline constexpr std::array<std::byte, 8> kMagic{std::byte{0x89}, std::byte{'T'},  std::byte{'V'},  std::byte{'R'},
                                                 std::byte{'\r'}, std::byte{'\n'}, std::byte{0x1a}, std::byte{'\n'}};
inline constexpr std::uint16_t kVersion = 1;
inline constexpr std::size_t kHelloBytes = 40;
inline constexpr std::size_t kWelcomeBytes = 24;
inline constexpr std::size_t kVersionedBytes = 10;  // magic and version

inline constexpr std::uint16_t kRequestKind = 0x5152;
inline constexpr std::uint16_t kReplyKind = 0x5052;
inline constexpr std::size_t kRequestHeaderBytes = 8;
inline constexpr std::size_t kReadBytes = 12;
inline constexpr std::size_t kReplyHeaderBytes = 12;
inline constexpr std::uint32_t kMostReads = ReadBatch::kMaxReads;
inline constexpr std::size_t kMostRequestBytes = kRequestHeaderBytes + kMostReads * kReadBytes;
inline constexpr std::uint64_t kMostReplyBytes = 32U << 20U;

enum class Answer : std::uint16_t {
  kAccepted = 0,
  kWrongVersion = 1,
  kUnknownRegion = 2,
  kWrongToken = 3,
  kFull = 4,
  kFullForAddress = 5
};
enum class Outcome : std::uint16_t { kOk = 0, kOutsideRegion = 1 };

/// How far a parser got: a whole message, one that may still become whole, or what can never become one.
enum class Parsed : std::uint8_t { kWhole, kPart, kGarbage };

template <class T>
T load(const std::byte* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class T>
void store(std::byte* to, T value) noexcept {
  std::memcpy(to, &value, sizeof value);
}

// ---- hello and welcome
// ------------------------------------------------------------------------------------------------

struct Hello {
  std::uint16_t version = kVersion;
  std::uint64_t region_id = 0;
  AttachToken token{};
};

struct Welcome {
  std::uint16_t version = kVersion;
  Answer answer = Answer::kAccepted;
  std::uint64_t region_bytes = 0;
};

inline std::array<std::byte, kHelloBytes> encode(const Hello& hello) noexcept {
  std::array<std::byte, kHelloBytes> bytes{};
  std::copy(kMagic.begin(), kMagic.end(), bytes.begin());
  store(&bytes[8], hello.version);
  store(&bytes[16], hello.region_id);
  std::copy(hello.token.begin(), hello.token.end(), bytes.begin() + 24);
  return bytes;
}

inline std::array<std::byte, kWelcomeBytes> encode(const Welcome& welcome) noexcept {
  std::array<std::byte, kWelcomeBytes> bytes{};
  std::copy(kMagic.begin(), kMagic.end(), bytes.begin());
  store(&bytes[8], welcome.version);
  store(&bytes[10], static_cast<std::uint16_t>(welcome.answer));
  store(&bytes[16], welcome.region_bytes);
  return bytes;
}

/// True while `bytes` may be the beginning of a hello or a welcome.
inline bool begins_with_magic(std::span<const std::byte> bytes) noexcept {
  return std::memcmp(bytes.data(), kMagic.data(), std::min(bytes.size(), kMagic.size())) == 0;
}

/// A hello in another version tells only its version.
inline Parsed parse(std::span<const std::byte> bytes, Hello& hello) noexcept {
  if (bytes.empty()) return Parsed::kPart;
  if (!begins_with_magic(bytes)) return Parsed::kGarbage;
  if (bytes.size() < kVersionedBytes) return Parsed::kPart;
  hello.version = load<std::uint16_t>(&bytes[8]);
  if (hello.version != kVersion) return Parsed::kWhole;
  if (bytes.size() < kHelloBytes) return Parsed::kPart;
  hello.region_id = load<std::uint64_t>(&bytes[16]);
  std::copy_n(&bytes[24], hello.token.size(), hello.token.begin());
  return Parsed::kWhole;
}

/// A welcome in another version tells only its version; the answer is then kWrongVersion.
inline Parsed parse(std::span<const std::byte> bytes, Welcome& welcome) noexcept {
  if (bytes.empty()) return Parsed::kPart;
  if (!begins_with_magic(bytes)) return Parsed::kGarbage;
  if (bytes.size() < kVersionedBytes) return Parsed::kPart;
  welcome.version = load<std::uint16_t>(&bytes[8]);
  if (welcome.version != kVersion) {
    welcome.answer = Answer::kWrongVersion;
    return Parsed::kWhole;
  }
  if (bytes.size() < kWelcomeBytes) return Parsed::kPart;
  const auto answer = load<std::uint16_t>(&bytes[10]);
  if (answer > static_cast<std::uint16_t>(Answer::kFullForAddress)) return Parsed::kGarbage;
  welcome.answer = static_cast<Answer>(answer);
  welcome.region_bytes = load<std::uint64_t>(&bytes[16]);
  return Parsed::kWhole;
}

// ---- request and reply
// ------------------------------------------------------------------------------------------------

struct Request {
  std::uint32_t batch_id = 0;
  std::uint32_t count = 0;
  std::uint32_t reply_bytes = 0;     // sum of the lengths
  const std::byte* reads = nullptr;  // count times kReadBytes, in the parsed bytes

  [[nodiscard]] std::size_t message_bytes() const noexcept { return kRequestHeaderBytes + count * kReadBytes; }
  [[nodiscard]] Read read(std::uint32_t index) const noexcept {
    const std::byte* at = reads + index * kReadBytes;
    return {load<std::uint64_t>(at), load<std::uint32_t>(at + 8)};
  }
};

struct ReplyHeader {
  Outcome outcome = Outcome::kOk;
  std::uint32_t batch_id = 0;
  std::uint32_t bytes = 0;
};

/// Writes a request to `to`, which has room for it; returns its bytes.
inline std::size_t encode_request(std::byte* to, std::uint32_t batch_id, std::span<const Read> reads) noexcept {
  store(to, kRequestKind);
  store(to + 2, static_cast<std::uint16_t>(reads.size()));
  store(to + 4, batch_id);
  std::byte* at = to + kRequestHeaderBytes;
  for (const Read read : reads) {
    store(at, read.offset);
    store(at + 8, read.length);
    at += kReadBytes;
  }
  return static_cast<std::size_t>(at - to);
}

inline Parsed parse(std::span<const std::byte> bytes, Request& request) noexcept {
  if (bytes.size() < kRequestHeaderBytes) return Parsed::kPart;
  const auto count = load<std::uint16_t>(&bytes[2]);
  if (load<std::uint16_t>(bytes.data()) != kRequestKind || count == 0 || count > kMostReads) return Parsed::kGarbage;
  request.batch_id = load<std::uint32_t>(&bytes[4]);
  request.count = count;
  if (bytes.size() < request.message_bytes()) return Parsed::kPart;
  request.reads = &bytes[kRequestHeaderBytes];
  std::uint64_t sum = 0;
  for (std::uint32_t i = 0; i < request.count; ++i) {
    sum += request.read(i).length;
  }
  if (sum > kMostReplyBytes) return Parsed::kGarbage;
  request.reply_bytes = static_cast<std::uint32_t>(sum);
  return Parsed::kWhole;
}

inline void encode_header(std::byte* to, const ReplyHeader& header) noexcept {
  store(to, kReplyKind);
  store(to + 2, static_cast<std::uint16_t>(header.outcome));
  store(to + 4, header.batch_id);
  store(to + 8, header.bytes);
}

/// kWhole: the header is there, and the bytes it announces are no more than they may be.
inline Parsed parse(std::span<const std::byte> bytes, ReplyHeader& header) noexcept {
  if (bytes.size() < kReplyHeaderBytes) return Parsed::kPart;
  const auto outcome = load<std::uint16_t>(&bytes[2]);
  header.batch_id = load<std::uint32_t>(&bytes[4]);
  header.bytes = load<std::uint32_t>(&bytes[8]);
  if (load<std::uint16_t>(bytes.data()) != kReplyKind ||
      outcome > static_cast<std::uint16_t>(Outcome::kOutsideRegion)) {
    return Parsed::kGarbage;
  }
  header.outcome = static_cast<Outcome>(outcome);
  const bool plausible = header.outcome == Outcome::kOk ? header.bytes <= kMostReplyBytes : header.bytes == 0;
  return plausible ? Parsed::kWhole : Parsed::kGarbage;
}

/// Takes as long whether the first byte differs or none.
inline bool same_token(const AttachToken& left, const AttachToken& right) noexcept {
  volatile std::uint8_t difference = 0;
  for (std::size_t i = 0; i < left.size(); ++i) {
    difference = static_cast<std::uint8_t>(difference | std::to_integer<std::uint8_t>(left[i] ^ right[i]));
  }
  return difference == 0;
}

}  // namespace tiervec::rdma::wire
