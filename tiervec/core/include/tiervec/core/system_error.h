#pragma once

#include <string>

#include <tiervec/core/status.h>

namespace tiervec {

/// What a failed system call means to a caller. The only such table, for Python too (`_core.errno_code`): a caller gets
/// the same class of error whichever side met the system's refusal. Numbers that are not in it are kUnavailable.
ErrorCode code_of_errno(int number) noexcept;

/// "opening x: Too many open files" with the code of `number`.
Error system_error(const std::string& act, int number);

}  // namespace tiervec
