#include <tiervec/core/dtype.h>

#include <tiervec/core/status.h>

namespace tiervec {

Dtype parse_dtype(const std::string& name) {
  if (name == "float32") return Dtype::kFloat32;
  if (name == "float16") return Dtype::kFloat16;
  if (name == "int8") return Dtype::kInt8;
  if (name == "uint8") return Dtype::kUint8;
  throw Error(ErrorCode::kInvalidArgument, "dtype is '" + name + "'; it must be float32, float16, int8 or uint8");
}

Metric parse_metric(const std::string& name) {
  if (name == "l2") return Metric::kL2;
  if (name == "ip") return Metric::kIp;
  if (name == "cosine") return Metric::kCosine;
  throw Error(ErrorCode::kInvalidArgument, "metric is '" + name + "'; it must be l2, ip or cosine");
}

}  // namespace tiervec
