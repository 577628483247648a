#include <tiervec/core/dtype.h>

#include <string>
#include <utility>

#include <gtest/gtest.h>

#include <tiervec/core/status.h>

namespace tiervec {
namespace {

TEST(Dtype, NamesAreTheOnesPythonUses) {
  EXPECT_EQ(parse_dtype("float32"), Dtype::kFloat32);
  EXPECT_EQ(parse_dtype("float16"), Dtype::kFloat16);
  EXPECT_EQ(parse_dtype("int8"), Dtype::kInt8);
  EXPECT_EQ(parse_dtype("uint8"), Dtype::kUint8);
  EXPECT_EQ(parse_metric("l2"), Metric::kL2);
  EXPECT_EQ(parse_metric("ip"), Metric::kIp);
  EXPECT_EQ(parse_metric("cosine"), Metric::kCosine);
}

TEST(Dtype, AnUnknownNameIsNamedWithTheKnownOnes) {
  for (const auto& [parse, value] : {std::pair{+[] { parse_dtype("float64"); }, "float64"},
                                     std::pair{+[] { parse_metric("hamming"); }, "hamming"}}) {
    try {
      parse();
      FAIL() << "it should have thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(error.what()).find(value), std::string::npos);
      EXPECT_NE(std::string(error.what()).find("it must be"), std::string::npos);
    }
  }
}

TEST(Dtype, IntegerIndexesAreAskedInTheirOwnType) {
  EXPECT_EQ(query_dtype(Dtype::kFloat16), Dtype::kFloat32);
  EXPECT_EQ(query_dtype(Dtype::kFloat32), Dtype::kFloat32);
  EXPECT_EQ(query_dtype(Dtype::kInt8), Dtype::kInt8);
  EXPECT_EQ(query_dtype(Dtype::kUint8), Dtype::kUint8);
}

}  // namespace
}  // namespace tiervec
