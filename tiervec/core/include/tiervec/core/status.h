#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace tiervec {

/// Why an operation failed. The values cross into Python (tiervec.errors) and onto gRPC status codes, one to one.
enum class ErrorCode : std::uint8_t {
  kOk = 0,
  kInvalidArgument,
  kNotFound,
  kAlreadyExists,
  kDataLoss,     // bytes are not what was written: checksum, truncation, a foreign record
  kUnavailable,  // the tier cannot answer now; a retry may succeed
  kDeadlineExceeded,
  kCancelled,
  kResourceExhausted,  // memory, disk, buffers
  kUnsupported,        // a newer format, or a capability this build or machine lacks
  kPermissionDenied,   // by a token that is missing, wrong, or grants less; by the operating system
  kDiskFull,           // no space for a file: the disk, a quota, a limit of its size
  kInternal,
};

/// "data_loss" and the like; stable, lower case.
const char* error_code_name(ErrorCode code) noexcept;

/// Thrown on control paths (open, build, save). Data paths carry an ErrorCode by value instead.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  [[nodiscard]] ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace tiervec
