#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <utility>

#include <tiervec/core/system_error.h>

namespace tiervec {
namespace {

TEST(SystemError, EachNumberHasTheClassThatACallerExpects) {
  for (const auto& [number, code] : {
           std::pair{ENOENT, ErrorCode::kNotFound},
           std::pair{EEXIST, ErrorCode::kAlreadyExists},
           std::pair{ENXIO, ErrorCode::kNotFound},
           std::pair{ENODEV, ErrorCode::kNotFound},
           std::pair{ENOTEMPTY, ErrorCode::kAlreadyExists},
           std::pair{ENOSPC, ErrorCode::kDiskFull},
           std::pair{EDQUOT, ErrorCode::kDiskFull},
           std::pair{EFBIG, ErrorCode::kDiskFull},
           std::pair{EMFILE, ErrorCode::kResourceExhausted},
           std::pair{ENFILE, ErrorCode::kResourceExhausted},
           std::pair{ENOMEM, ErrorCode::kResourceExhausted},
           std::pair{EAGAIN, ErrorCode::kResourceExhausted},
           std::pair{EACCES, ErrorCode::kPermissionDenied},
           std::pair{EPERM, ErrorCode::kPermissionDenied},
           std::pair{EROFS, ErrorCode::kPermissionDenied},
           std::pair{EADDRINUSE, ErrorCode::kUnavailable},
           std::pair{EADDRNOTAVAIL, ErrorCode::kUnavailable},
           std::pair{EISDIR, ErrorCode::kInvalidArgument},
           std::pair{ENOTDIR, ErrorCode::kInvalidArgument},
           std::pair{ELOOP, ErrorCode::kInvalidArgument},
           std::pair{ENAMETOOLONG, ErrorCode::kInvalidArgument},
           std::pair{EOPNOTSUPP, ErrorCode::kUnsupported},
           std::pair{EIO, ErrorCode::kUnavailable},
           std::pair{0, ErrorCode::kUnavailable},
           std::pair{99999, ErrorCode::kUnavailable},
       }) {
    EXPECT_EQ(code_of_errno(number), code) << number;
  }
}

TEST(SystemError, TheMessageSaysWhatWasDoneAndWhyItFailed) {
  const Error error = system_error("opening region file 'x'", EMFILE);
  EXPECT_EQ(error.code(), ErrorCode::kResourceExhausted);
  EXPECT_EQ(std::string(error.what()), "opening region file 'x': Too many open files");
}

}  // namespace
}  // namespace tiervec
