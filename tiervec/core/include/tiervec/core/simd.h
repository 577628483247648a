#pragma once

#include <cstdint>
#include <string>

namespace tiervec {

/// Instruction sets that kernels are written for. Portable code is vectorised by the compiler (NEON on aarch64).
enum class SimdLevel : std::uint8_t { kPortable = 0, kAvx2 = 1, kAvx512 = 2 };

/// The best level of this CPU, or a lower one named in the environment variable TIERVEC_SIMD
/// (portable, avx2, avx512). Decided once per process. A name that the CPU cannot run is ignored.
SimdLevel simd_level() noexcept;

/// The best level of this CPU.
SimdLevel detected_simd_level() noexcept;

/// "portable", "avx2", "avx512".
const char* simd_level_name(SimdLevel level) noexcept;

}  // namespace tiervec
