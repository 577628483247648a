#include <tiervec/core/simd.h>

#include <cstdlib>
#include <string>

#include <gtest/gtest.h>

namespace tiervec {
namespace {

TEST(Simd, TheLevelInUseIsOneThatTheCpuHas) {
  EXPECT_LE(simd_level(), detected_simd_level());
}

TEST(Simd, TheEnvironmentCanOnlyLowerIt) {
  const char* wanted = std::getenv("TIERVEC_SIMD");
  if (wanted == nullptr) {
    EXPECT_EQ(simd_level(), detected_simd_level());
  } else {
    SCOPED_TRACE(wanted);
    EXPECT_LE(simd_level(), detected_simd_level());
  }
}

TEST(Simd, Names) {
  EXPECT_STREQ(simd_level_name(SimdLevel::kPortable), "portable");
  EXPECT_STREQ(simd_level_name(SimdLevel::kAvx2), "avx2");
  EXPECT_STREQ(simd_level_name(SimdLevel::kAvx512), "avx512");
}

}  // namespace
}  // namespace tiervec
