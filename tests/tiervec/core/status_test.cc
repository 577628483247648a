#include <gtest/gtest.h>

#include <set>
#include <string>

#include <tiervec/core/status.h>

namespace tiervec {
namespace {

TEST(Status, EveryCodeHasItsOwnName) {
  std::set<std::string> names;
  for (int code = 0; code <= static_cast<int>(ErrorCode::kInternal); ++code) {
    names.insert(error_code_name(static_cast<ErrorCode>(code)));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(ErrorCode::kInternal) + 1);
}

TEST(Status, NamesAreTheOnesPythonUses) {
  EXPECT_STREQ(error_code_name(ErrorCode::kOk), "ok");
  EXPECT_STREQ(error_code_name(ErrorCode::kDataLoss), "data_loss");
  EXPECT_STREQ(error_code_name(ErrorCode::kDeadlineExceeded), "deadline_exceeded");
}

TEST(Status, AValueOutsideTheEnumIsInternal) {
  EXPECT_STREQ(error_code_name(static_cast<ErrorCode>(200)), "internal");
}

TEST(Status, ErrorKeepsCodeAndMessage) {
  const Error error(ErrorCode::kNotFound, "index directory /a: no manifest.json");
  EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  EXPECT_STREQ(error.what(), "index directory /a: no manifest.json");
}

}  // namespace
}  // namespace tiervec
