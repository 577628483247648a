#pragma once

// Numbers from text, by std::from_chars alone. Streams, stoul and strtod depend on the locale of the process, and
// streams read nothing at all in a module that links libstdc++ statically beside another libstdc++.

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <optional>
#include <string_view>
#include <system_error>

namespace tiervec {

/// Takes the number that `text` begins with, after spaces and tabs if there are any, and leaves what follows it. Empty,
/// with `text` unchanged, when it begins with no number or with one that does not fit.
template <class Number>
[[nodiscard]] std::optional<Number> take_number(std::string_view& text) noexcept {
  const char* const end = text.data() + text.size();
  const char* const begin = text.data() + std::min(text.find_first_not_of(" \t"), text.size());
  Number value{};
  const auto [stop, failure] = std::from_chars(begin, end, value);
  if (failure != std::errc()) return std::nullopt;
  text = {stop, static_cast<std::size_t>(end - stop)};
  return value;
}

/// The number that is the whole of `text`, with nothing around it.
template <class Number>
[[nodiscard]] std::optional<Number> parse_number(std::string_view text) noexcept {
  if (text.starts_with(' ') || text.starts_with('\t')) return std::nullopt;
  const std::optional<Number> value = take_number<Number>(text);
  return text.empty() ? value : std::nullopt;
}

}  // namespace tiervec
