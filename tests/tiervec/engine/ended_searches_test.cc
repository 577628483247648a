#include <tiervec/engine/ended_searches.h>

#include <vector>

#include <poll.h>

#include <gtest/gtest.h>

namespace tiervec::engine {
namespace {

bool is_readable(const EndedSearches& ended) {
  pollfd asked{.fd = ended.descriptor(), .events = POLLIN, .revents = 0};
  return ::poll(&asked, 1, 0) == 1;
}

TEST(EndedSearches, IsReadableWhileThereAreSome) {
  EndedSearches ended;
  EXPECT_FALSE(is_readable(ended));
  for (int i = 0; i < 3; ++i) ended.expect();
  ended.search_ended(4);
  ended.search_ended(9);
  EXPECT_TRUE(is_readable(ended));
  EXPECT_EQ(ended.take(), (std::vector<std::uint64_t>{4, 9}));
  EXPECT_FALSE(is_readable(ended));
  ended.search_ended(2);
  EXPECT_TRUE(is_readable(ended));
  EXPECT_EQ(ended.take(), std::vector<std::uint64_t>{2});
  EXPECT_TRUE(ended.take().empty());
}

}  // namespace
}  // namespace tiervec::engine
