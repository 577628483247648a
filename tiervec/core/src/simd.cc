#include <tiervec/core/simd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#ifdef TIERVEC_X86
#include <cpuid.h>
#endif

namespace tiervec {

#ifdef TIERVEC_X86
namespace {

// clang 16 has no name for F16C. The registers that it needs are those of AVX, which AVX2 includes.
bool has_half_floats() noexcept {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

}  // namespace
#endif

SimdLevel detected_simd_level() noexcept {
#ifdef TIERVEC_X86
  // All that the files of a level are compiled with; a hypervisor may hide any one of them.
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_half_floats() &&
                        __builtin_cpu_supports("bmi2");
  // Together since Ice Lake and Zen 4: byte permutes (VBMI), integer dot products (VNNI), half floats.
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni") && has_avx2) {
    return SimdLevel::kAvx512;
  }
  if (has_avx2) {
    return SimdLevel::kAvx2;
  }
#endif
  return SimdLevel::kPortable;
}

const char* simd_level_name(SimdLevel level) noexcept {
  switch (level) {
    case SimdLevel::kAvx512:
      return "avx512";
    case SimdLevel::kAvx2:
      return "avx2";
    case SimdLevel::kPortable:
      break;
  }
  return "portable";
}

namespace {

SimdLevel chosen_simd_level() noexcept {
  const SimdLevel best = detected_simd_level();
  const char* wanted = std::getenv("TIERVEC_SIMD");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  if (wanted == nullptr) {
    return best;
  }
  for (SimdLevel level : {SimdLevel::kPortable, SimdLevel::kAvx2, SimdLevel::kAvx512}) {
    if (std::strcmp(wanted, simd_level_name(level)) == 0) {
      return std::min(level, best);
    }
  }
  return best;
}

}  // namespace

SimdLevel simd_level() noexcept {
  static const SimdLevel level = chosen_simd_level();
  return level;
}

}  // namespace tiervec
