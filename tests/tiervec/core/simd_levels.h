#pragma once

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/core/simd.h>

namespace tiervec::testing {

/// What this CPU can run, portable first. A kernel of a higher level is not tested here.
inline std::vector<SimdLevel> simd_levels() {
  std::vector<SimdLevel> levels;
  for (const SimdLevel level : {SimdLevel::kPortable, SimdLevel::kAvx2, SimdLevel::kAvx512}) {
    if (level <= detected_simd_level()) levels.push_back(level);
  }
  return levels;
}

inline std::string level_name(const ::testing::TestParamInfo<SimdLevel>& info) {
  return simd_level_name(info.param);
}

}  // namespace tiervec::testing

#define TIERVEC_ON_EVERY_SIMD_LEVEL(suite)                                                        \
  INSTANTIATE_TEST_SUITE_P(Levels, suite, ::testing::ValuesIn(::tiervec::testing::simd_levels()), \
                           ::tiervec::testing::level_name)
