// tiervec::Error becomes the class of tiervec.errors with the same code, so that a caller in Python catches one family
// of exceptions whichever side found the problem.

#include <exception>
#include <string>

#include <tiervec/core/status.h>
#include <tiervec/core/system_error.h>

#include "register.h"

namespace nb = nanobind;

namespace tiervec::native {
namespace {

// Paths in messages may hold bytes that are not UTF-8; the message must arrive anyway.
nb::object message_to_python(const char* message) {
  return nb::steal(PyUnicode_DecodeUTF8(message, static_cast<Py_ssize_t>(std::char_traits<char>::length(message)),
                                        "backslashreplace"));
}

// tiervec.errors is imported here, at the first error: at load time tiervec itself may still be half imported.
void set_python_error(const Error& error) {
  try {
    const nb::object exception = nb::module_::import_("tiervec.errors")
                                     .attr("from_code")(error_code_name(error.code()), message_to_python(error.what()));
    PyErr_SetObject(exception.type().ptr(), exception.ptr());
  } catch (nb::python_error& failure) {
    failure.restore();
  }
}

void translate(const std::exception_ptr& exception, void* /*unused*/) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    set_python_error(error);
  }
}

}  // namespace

void register_errors(nb::module_& module) {
  nb::register_exception_translator(&translate);
  module.def(
      "errno_code", [](int number) { return error_code_name(code_of_errno(number)); }, nb::arg("number"),
      "The code of the error that a failed system call becomes.");
  // For the test of this mapping: there is no other way to raise each code on purpose.
  module.def(
      "_raise_error",
      [](int code, const nb::bytes& message) {
        throw Error(static_cast<ErrorCode>(code), std::string(message.c_str(), message.size()));
      },
      nb::arg("code"), nb::arg("message"), nb::sig("def _raise_error(code: int, message: bytes) -> None"));
}

}  // namespace tiervec::native
