#include <tiervec/core/system_error.h>

#include <cerrno>
#include <system_error>

namespace tiervec {

ErrorCode code_of_errno(int number) noexcept {
  switch (number) {
    case ENOENT:
    case ENXIO:
    case ENODEV:
      return ErrorCode::kNotFound;
    case EEXIST:
    case ENOTEMPTY:
      return ErrorCode::kAlreadyExists;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:  // the size of one file is limited
      return ErrorCode::kDiskFull;
    case ENOMEM:
    case ENOBUFS:
    case EMFILE:
    case ENFILE:
    case EMLINK:
    case EAGAIN:  // no more threads or processes; calls that wait handle it themselves
      return ErrorCode::kResourceExhausted;
    case EACCES:
    case EPERM:
    case EROFS:
      return ErrorCode::kPermissionDenied;
    case EISDIR:
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case EINVAL:
    case EILSEQ:  // a name that the file system cannot hold
      return ErrorCode::kInvalidArgument;
    case ENOSYS:
    case EOPNOTSUPP:
      return ErrorCode::kUnsupported;
    default:
      return ErrorCode::kUnavailable;  // EIO, ESTALE, EADDRINUSE, ...: a retry may succeed
  }
}

Error system_error(const std::string& act, int number) {
  return {code_of_errno(number), act + ": " + std::generic_category().message(number)};
}

}  // namespace tiervec
