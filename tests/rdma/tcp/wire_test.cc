#include "../../../rdma/src/tcp/wire.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include "rdma/tcp/raw_socket.h"

namespace tiervec::rdma::wire {
namespace {

using testing::Bytes;

TEST(Wire, HelloAndWelcomeComeBack) {
  const Bytes bytes = testing::hello(0x0123456789abcdefULL, testing::kToken);
  Hello hello;
  ASSERT_EQ(parse(bytes, hello), Parsed::kWhole);
  EXPECT_EQ(hello.version, kVersion);
  EXPECT_EQ(hello.region_id, 0x0123456789abcdefULL);
  EXPECT_EQ(hello.token, testing::kToken);

  Welcome welcome;
  ASSERT_EQ(parse(testing::welcome(Answer::kWrongToken, 77), welcome), Parsed::kWhole);
  EXPECT_EQ(welcome.answer, Answer::kWrongToken);
  EXPECT_EQ(welcome.region_bytes, 77U);
}

TEST(Wire, EveryBeginningIsAPart) {
  const Bytes hello_bytes = testing::hello(1);
  const Bytes welcome_bytes = testing::welcome(Answer::kAccepted, 9);
  const Bytes request_bytes = testing::request(5, {{1, 2}, {3, 4}});
  Hello hello;
  Welcome welcome;
  Request request;
  for (std::size_t i = 0; i < hello_bytes.size(); ++i) {
    EXPECT_EQ(parse(std::span(hello_bytes).first(i), hello), Parsed::kPart) << i;
  }
  for (std::size_t i = 0; i < welcome_bytes.size(); ++i) {
    EXPECT_EQ(parse(std::span(welcome_bytes).first(i), welcome), Parsed::kPart) << i;
  }
  for (std::size_t i = 0; i < request_bytes.size(); ++i) {
    EXPECT_EQ(parse(std::span(request_bytes).first(i), request), Parsed::kPart) << i;
  }
}

TEST(Wire, OtherVersionsAreKnownByTenBytes) {
  const Bytes bytes = testing::hello(1, testing::kToken, 2);
  Hello hello;
  ASSERT_EQ(parse(std::span(bytes).first(kVersionedBytes), hello), Parsed::kWhole);
  EXPECT_EQ(hello.version, 2);
  Bytes answer = testing::welcome(Answer::kAccepted, 1);
  answer[8] = std::byte{9};
  Welcome welcome;
  ASSERT_EQ(parse(std::span(answer).first(kVersionedBytes), welcome), Parsed::kWhole);
  EXPECT_EQ(welcome.version, 9);
  EXPECT_EQ(welcome.answer, Answer::kWrongVersion);
}

TEST(Wire, OtherProtocolsAreGarbageFromTheFirstByte) {
  Hello hello;
  Welcome welcome;
  for (const std::string_view text :
       {"G", "GET / HTTP/1.1\r\n", "\x16\x03\x01", "SSH-2.0-x", "\x89PNG\r\n\x1a\n", "\n"}) {
    EXPECT_EQ(parse(testing::bytes_of(text), hello), Parsed::kGarbage) << text;
    EXPECT_EQ(parse(testing::bytes_of(text), welcome), Parsed::kGarbage) << text;
  }
  Bytes unknown = testing::welcome(Answer::kAccepted, 1);
  unknown[10] = std::byte{6};
  EXPECT_EQ(parse(unknown, welcome), Parsed::kGarbage);
}

TEST(Wire, RequestsComeBack) {
  std::vector<Read> reads(kMostReads);
  for (std::uint32_t i = 0; i < kMostReads; ++i) {
    reads[i] = {0xfedcba9876543210ULL + i, 1000 + i};
  }
  const Bytes bytes = testing::request(0xdeadbeef, reads);
  EXPECT_EQ(bytes.size(), kMostRequestBytes);
  Request request;
  ASSERT_EQ(parse(bytes, request), Parsed::kWhole);
  EXPECT_EQ(request.batch_id, 0xdeadbeefU);
  EXPECT_EQ(request.message_bytes(), bytes.size());
  EXPECT_EQ(request.reply_bytes, 128 * 1000 + 127 * 64);
  ASSERT_EQ(request.count, kMostReads);
  for (std::uint32_t i = 0; i < kMostReads; ++i) {
    EXPECT_EQ(request.read(i).offset, reads[i].offset);
    EXPECT_EQ(request.read(i).length, reads[i].length);
  }
}

TEST(Wire, RequestsBeyondTheLimitsAreGarbage) {
  Request request;
  Bytes bytes = testing::request(1, {{0, 1}});
  store(&bytes[2], std::uint16_t{0});
  EXPECT_EQ(parse(bytes, request), Parsed::kGarbage) << "no reads";
  store(&bytes[2], static_cast<std::uint16_t>(kMostReads + 1));
  EXPECT_EQ(parse(bytes, request), Parsed::kGarbage) << "known from the header";
  bytes = testing::request(1, {{0, 1}});
  bytes[0] = std::byte{0};
  EXPECT_EQ(parse(bytes, request), Parsed::kGarbage) << "another kind";
  EXPECT_EQ(parse(testing::request(1, {{0, kMostReplyBytes}}), request), Parsed::kWhole);
  EXPECT_EQ(parse(testing::request(1, {{0, kMostReplyBytes}, {0, 1}}), request), Parsed::kGarbage);
  const std::vector<Read> longest(kMostReads, Read{0, 0xffffffffU});  // the sum does not fit 32 bits
  EXPECT_EQ(parse(testing::request(1, longest), request), Parsed::kGarbage);
}

TEST(Wire, RepliesBeyondTheLimitsAreGarbage) {
  std::byte bytes[kReplyHeaderBytes];
  ReplyHeader header;
  const auto parsed = [&](const ReplyHeader& sent) {
    encode_header(bytes, sent);
    return parse(bytes, header);
  };
  EXPECT_EQ(parsed({Outcome::kOk, 7, kMostReplyBytes}), Parsed::kWhole);
  EXPECT_EQ(header.batch_id, 7U);
  EXPECT_EQ(header.bytes, kMostReplyBytes);
  EXPECT_EQ(parsed({Outcome::kOk, 7, kMostReplyBytes + 1}), Parsed::kGarbage);
  EXPECT_EQ(parsed({Outcome::kOutsideRegion, 7, 0}), Parsed::kWhole);
  EXPECT_EQ(parsed({Outcome::kOutsideRegion, 7, 1}), Parsed::kGarbage);
  EXPECT_EQ(parsed({static_cast<Outcome>(2), 7, 0}), Parsed::kGarbage);
  EXPECT_EQ(parse(std::span<const std::byte>(bytes).first(kReplyHeaderBytes - 1), header), Parsed::kPart);
}

TEST(Wire, TokensDifferInEveryByte) {
  const AttachToken token = testing::kToken;
  EXPECT_TRUE(same_token(token, testing::kToken));
  for (std::size_t i = 0; i < token.size(); ++i) {
    AttachToken other = token;
    other[i] ^= std::byte{0x80};
    EXPECT_FALSE(same_token(token, other)) << i;
  }
}

// Whatever arrives, the parsers look at no byte outside it (AddressSanitizer sees to that: the bytes are exactly their
// own allocation) and let nothing through that is beyond the limits.
TEST(Wire, ParsersStandAnyBytes) {
  std::mt19937_64 random(7);
  const std::vector<Bytes> seeds = {testing::hello(1), testing::welcome(Answer::kAccepted, 4096),
                                    testing::request(1, {{0, 64}, {64, 64}, {4096, 1}}), Bytes(64)};
  for (int round = 0; round < 40'000; ++round) {
    Bytes mutated = seeds[random() % seeds.size()];
    for (std::uint64_t changes = random() % 6; changes > 0; --changes) {
      mutated[random() % mutated.size()] = static_cast<std::byte>(random());
    }
    const std::size_t size = random() % (mutated.size() + 1);
    const auto exact = std::make_unique<std::byte[]>(size);
    std::copy_n(mutated.begin(), size, exact.get());
    const std::span<const std::byte> bytes(exact.get(), size);
    Hello hello;
    Welcome welcome;
    Request request;
    ReplyHeader header;
    (void)parse(bytes, hello);
    if (parse(bytes, welcome) == Parsed::kWhole) {
      EXPECT_LE(static_cast<std::uint16_t>(welcome.answer), static_cast<std::uint16_t>(Answer::kFull));
    }
    if (parse(bytes, request) == Parsed::kWhole) {
      EXPECT_LE(request.message_bytes(), size);
      EXPECT_LE(request.reply_bytes, kMostReplyBytes);
      std::uint64_t sum = 0;
      for (std::uint32_t i = 0; i < request.count; ++i) {
        sum += request.read(i).length;
      }
      EXPECT_EQ(sum, request.reply_bytes);
    }
    if (parse(bytes, header) == Parsed::kWhole) {
      EXPECT_LE(header.bytes, kMostReplyBytes);
    }
  }
}

}  // namespace
}  // namespace tiervec::rdma::wire
