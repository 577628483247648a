#include <tiervec/core/vector_kernels.h>

#include <cstdint>
#include <cstring>

#include <tiervec/core/half.h>

namespace tiervec {

const VectorKernels& vector_kernels(Dtype dtype, SimdLevel level) noexcept {
  const auto index = static_cast<std::size_t>(dtype);
#ifdef TIERVEC_X86
  switch (level) {
    case SimdLevel::kAvx512:
      return kVectorKernelsAvx512[index];
    case SimdLevel::kAvx2:
      return kVectorKernelsAvx2[index];
    case SimdLevel::kPortable:
      break;
  }
#endif
  (void)level;
  return kVectorKernelsPortable[index];
}

RotateFn rotate_kernel(SimdLevel level) noexcept {
#ifdef TIERVEC_X86
  if (level == SimdLevel::kAvx512) return kRotateAvx512;
  if (level == SimdLevel::kAvx2) return kRotateAvx2;
#endif
  (void)level;
  return kRotatePortable;
}

void widen(Dtype dtype, const void* from, std::size_t count, float* to) noexcept {
  switch (dtype) {
    case Dtype::kFloat32:
      std::memcpy(to, from, count * sizeof(float));
      return;
    case Dtype::kFloat16:
      for (std::size_t i = 0; i < count; ++i) to[i] = half_to_float(static_cast<const std::uint16_t*>(from)[i]);
      return;
    case Dtype::kInt8:
      for (std::size_t i = 0; i < count; ++i) to[i] = static_cast<const std::int8_t*>(from)[i];
      return;
    case Dtype::kUint8:
      for (std::size_t i = 0; i < count; ++i) to[i] = static_cast<const std::uint8_t*>(from)[i];
      return;
  }
}

}  // namespace tiervec
