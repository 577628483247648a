#include "../../rdma/src/verbs/handshake.h"

#include <algorithm>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace tiervec::rdma::verbs {
namespace {

AttachToken counting_token() {
  AttachToken token;
  for (std::size_t i = 0; i < token.size(); ++i) {
    token[i] = static_cast<std::byte>(i + 1);
  }
  return token;
}

/// As rdma_cm delivers it: padded with zeros.
template <std::size_t kBytes>
std::vector<std::byte> padded(const std::array<std::byte, kBytes>& data) {
  std::vector<std::byte> bytes(data.begin(), data.end());
  bytes.resize(196);
  return bytes;
}

TEST(Handshake, ComesBackAsItWasSent) {
  const auto request =
      decode_request(padded(encode(ConnectRequest{.region_id = 1ULL << 60U, .token = counting_token()})));
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->version, kProtocolVersion);
  EXPECT_EQ(request->region_id, 1ULL << 60U);
  EXPECT_EQ(request->token, counting_token());

  const auto accept =
      decode_accept(padded(encode(ConnectAccept{.address = 0x7f00'1234'5678'9000, .size_bytes = 5, .key = 77})));
  ASSERT_TRUE(accept.has_value());
  EXPECT_EQ(accept->address, 0x7f00'1234'5678'9000U);
  EXPECT_EQ(accept->size_bytes, 5U);
  EXPECT_EQ(accept->key, 77U);

  const auto reject = decode_reject(padded(encode(ConnectReject{.refusal = Refusal::kToken})));
  ASSERT_TRUE(reject.has_value());
  EXPECT_EQ(reject->refusal, Refusal::kToken);
}

TEST(Handshake, FitsThePrivateDataOfAConnection) {
  EXPECT_LE(ConnectRequest::kBytes, 56U);  // what rdma_cm leaves of an InfiniBand REQ
  EXPECT_LE(ConnectReject::kBytes, 148U);  // REJ
  EXPECT_LE(ConnectAccept::kBytes, 196U);  // REP
}

TEST(Handshake, RefusesWhatIsTooShortOrBeginsOtherwise) {
  const auto request = encode(ConnectRequest{.region_id = 1, .token = counting_token()});
  for (std::size_t length = 0; length < request.size(); ++length) {
    // A copy of that length, so that a look behind it is found by AddressSanitizer.
    const std::vector<std::byte> cut(request.begin(), request.begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_FALSE(decode_request(cut).has_value()) << length;
    EXPECT_EQ(decode_accept(cut).has_value(), length >= ConnectAccept::kBytes);
    EXPECT_EQ(decode_reject(cut).has_value(), length >= ConnectReject::kBytes);
  }
  for (std::size_t at = 0; at < 4; ++at) {
    auto other = request;
    other[at] ^= std::byte{1};
    EXPECT_FALSE(decode_request(other).has_value());
  }
  EXPECT_FALSE(decode_request({}).has_value());
}

TEST(Handshake, LooksAtNothingBehindRandomBytes) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 20'000; ++i) {
    std::vector<std::byte> bytes(random() % 64);
    std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<std::byte>(random()); });
    if (random() % 2 == 0) {
      const auto begin = encode(ConnectReject{});
      std::copy_n(begin.begin(), std::min<std::size_t>(4, bytes.size()), bytes.begin());
    }
    const bool right = bytes.size() >= 4 && bytes[0] == std::byte{'T'} && bytes[1] == std::byte{'V'} &&
                       bytes[2] == std::byte{'R'} && bytes[3] == std::byte{'1'};
    EXPECT_EQ(decode_request(bytes).has_value(), right && bytes.size() >= ConnectRequest::kBytes);
    EXPECT_EQ(decode_accept(bytes).has_value(), right && bytes.size() >= ConnectAccept::kBytes);
    EXPECT_EQ(decode_reject(bytes).has_value(), right && bytes.size() >= ConnectReject::kBytes);
  }
}

TEST(Handshake, TokensDifferByAnyBit) {
  const AttachToken token = counting_token();
  EXPECT_TRUE(same_token(token, counting_token()));
  for (std::size_t bit = 0; bit < token.size() * 8; ++bit) {
    AttachToken other = token;
    other[bit / 8] ^= std::byte{1} << bit % 8;
    EXPECT_FALSE(same_token(token, other)) << "bit " << bit;
  }
}

}  // namespace
}  // namespace tiervec::rdma::verbs
