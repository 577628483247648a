#include "../../../rdma/src/tcp/receive_buffer.h"

#include <cstring>
#include <deque>
#include <random>

#include <gtest/gtest.h>

namespace tiervec::rdma {
namespace {

/// Receives `bytes` bytes of value `value` in pieces of any size, as sockets do.
void receive(ReceiveBuffer& buffer, std::size_t bytes, int value, std::mt19937_64& random) {
  std::size_t missing = bytes;
  while (missing > 0) {
    const std::span<std::byte> room = buffer.room(bytes);
    ASSERT_GE(room.size(), missing);
    const std::size_t piece = std::min<std::size_t>(missing, 1 + random() % bytes);
    std::memset(room.data(), value, piece);
    buffer.add_received(piece);
    missing -= piece;
  }
  ASSERT_EQ(buffer.arrived().size(), bytes);
}

TEST(ReceiveBuffer, IsUsedFromTheFrontWhenNobodyHoldsIt) {
  ReceiveBuffer buffer(1000, 4);
  std::mt19937_64 random(1);
  const std::byte* const first = buffer.room(1).data();
  for (int i = 0; i < 1000; ++i) {
    receive(buffer, 1000, i, random);
    const std::uint32_t chunk = buffer.hold();
    buffer.consume(1000);
    buffer.drop(chunk);
    EXPECT_EQ(buffer.room(1).data(), first);
  }
}

// The worst there is: as many holders as there may be, each the only one of its chunk.
TEST(ReceiveBuffer, NeverRunsOutAndKeepsWhatIsHeld) {
  constexpr std::size_t kHolders = 24;
  struct Held {
    const std::byte* data;
    std::size_t bytes;
    std::byte value;
    std::uint32_t chunk;
  };
  ReceiveBuffer buffer(50'000, kHolders);
  std::mt19937_64 random(2);
  std::deque<Held> held;
  for (int i = 0; i < 3000; ++i) {
    const std::size_t bytes = 1 + random() % (i % 7 == 0 ? 50'000 : 500);
    receive(buffer, bytes, i, random);
    held.push_back({buffer.arrived().data(), bytes, static_cast<std::byte>(i), buffer.hold()});
    buffer.consume(bytes);
    while (held.size() >= kHolders || (!held.empty() && random() % 3 == 0)) {
      const auto at = held.begin() + static_cast<std::ptrdiff_t>(random() % held.size());
      for (std::size_t byte = 0; byte < at->bytes; ++byte) {
        ASSERT_EQ(at->data[byte], at->value) << "written over while it was held";
      }
      buffer.drop(at->chunk);
      held.erase(at);
    }
  }
}

TEST(ReceiveBuffer, APartMovesWithItsRest) {
  ReceiveBuffer buffer(40'000, 2);
  std::mt19937_64 random(3);
  for (int i = 0; i < 50; ++i) {  // held, so that the chunk fills up; the part at its end goes to the next one
    receive(buffer, 39'000, i, random);
    const std::uint32_t chunk = buffer.hold();
    buffer.consume(39'000);
    std::memset(buffer.room(40'000).data(), 99, 20'000);
    buffer.add_received(20'000);
    std::memset(buffer.room(40'000).data(), 99, 20'000);
    buffer.add_received(20'000);
    ASSERT_EQ(buffer.arrived().size(), 40'000U);
    for (const std::byte byte : buffer.arrived()) {
      ASSERT_EQ(byte, std::byte{99});
    }
    buffer.consume(40'000);
    buffer.drop(chunk);
  }
}

TEST(ReceiveBuffer, DiscardsWhatCameWithALostConnection) {
  ReceiveBuffer buffer(100, 1);
  buffer.add_received(buffer.room(100).size());
  buffer.discard_arrived();
  EXPECT_TRUE(buffer.arrived().empty());
  EXPECT_GE(buffer.room(100).size(), 100U);
}

TEST(ReceiveBuffer, SaysWhenThereIsNoAddressSpace) {
  try {
    const ReceiveBuffer buffer(std::size_t{1} << 40U, 1000);
    FAIL() << "made";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kResourceExhausted);
  }
}

}  // namespace
}  // namespace tiervec::rdma
