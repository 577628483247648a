#include <tiervec/core/huge_buffer.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

#include <gtest/gtest.h>

#include <tiervec/core/status.h>

namespace tiervec {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20U;

TEST(HugeBuffer, IsZeroAlignedAndLargeEnough) {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{4096}, kHugePage, kHugePage + 1, 5 * kHugePage}) {
    HugeBuffer buffer(bytes);
    ASSERT_GE(buffer.bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.as<std::byte>()) % kHugePage, 0U);
    for (std::size_t i = 0; i < buffer.bytes(); i += 509) EXPECT_EQ(buffer.as<std::byte>()[i], std::byte{0});
    buffer.as<std::byte>()[0] = std::byte{1};
    buffer.as<std::byte>()[buffer.bytes() - 1] = std::byte{2};
  }
}

TEST(HugeBuffer, OfNothingHasNothing) {
  const HugeBuffer none(0);
  EXPECT_EQ(none.bytes(), 0U);
  EXPECT_EQ(none.as<std::byte>(), nullptr);
  EXPECT_EQ(HugeBuffer().bytes(), 0U);
}

TEST(HugeBuffer, MovesWithoutCopying) {
  HugeBuffer first(100);
  first.as<int>()[0] = 42;
  const int* at = first.as<int>();
  HugeBuffer second(std::move(first));
  EXPECT_EQ(second.as<int>(), at);
  HugeBuffer third(7);
  third = std::move(second);
  EXPECT_EQ(third.as<int>(), at);
  EXPECT_EQ(third.as<int>()[0], 42);
}

TEST(HugeBuffer, MoreThanThereIsIsAnError) {
  for (const std::size_t bytes : {std::size_t{1} << 60U, std::numeric_limits<std::size_t>::max() - 100}) {
    try {
      const HugeBuffer buffer(bytes);
      FAIL() << "it should have thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kResourceExhausted);
    }
  }
}

}  // namespace
}  // namespace tiervec
