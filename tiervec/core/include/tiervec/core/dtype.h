#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace tiervec {

/// Element type of the vectors that a user gives. Codes and distances are computed in float32 or exact integers.
enum class Dtype : std::uint8_t { kFloat32 = 0, kFloat16 = 1, kInt8 = 2, kUint8 = 3 };

/// How close two vectors are; smaller is closer for all of them.
enum class Metric : std::uint8_t {
  kL2 = 0,      // squared Euclidean distance
  kIp = 1,      // minus the inner product
  kCosine = 2,  // 1 - cosine similarity
};

constexpr std::size_t element_bytes(Dtype dtype) noexcept {
  return dtype == Dtype::kFloat32 ? 4 : dtype == Dtype::kFloat16 ? 2 : 1;
}

constexpr bool is_integer(Dtype dtype) noexcept {
  return dtype == Dtype::kInt8 || dtype == Dtype::kUint8;
}

/// Queries of float indexes are float32; integer indexes are asked in their own type, so that distances are exact.
constexpr Dtype query_dtype(Dtype dtype) noexcept {
  return is_integer(dtype) ? dtype : Dtype::kFloat32;
}

/// Throw Error(kInvalidArgument) naming the value and the known names.
Dtype parse_dtype(const std::string& name);
Metric parse_metric(const std::string& name);

}  // namespace tiervec
