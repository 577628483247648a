#pragma once

// Small text files of the kernel, such as /proc/meminfo, read without streams (parse_number.h says why).

#include <filesystem>
#include <string>
#include <string_view>

namespace tiervec {

/// The text of a file, its first MiB at most, without the line end that it ends with. Empty when it cannot be read.
[[nodiscard]] std::string read_system_file(const std::filesystem::path& path);

/// Takes the first line of `text`, without its end.
[[nodiscard]] std::string_view take_line(std::string_view& text) noexcept;

/// Takes the first word of `text`, and the spaces before it. Empty when there is none.
[[nodiscard]] std::string_view take_word(std::string_view& text) noexcept;

}  // namespace tiervec
