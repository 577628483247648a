// What stands after `emulated:`.

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <string_view>

#include <tiervec/rdma/emulated_tier.h>

namespace tiervec::rdma {

namespace {

// The limits keep every time in range of a tick counter; no device comes near them.
struct Key {
  std::string_view name;
  double least;
  double most;
};

constexpr std::array<Key, 4> kKeys = {{
    {"latency_us", 1e-3, 1e7},
    {"reads_mps", 1e-6, 1e6},
    {"gbps", 1e-6, 1e6},
    {"block", 1, 1 << 20},
}};

constexpr std::string_view kRight = "right is latency_us=5,reads_mps=20,gbps=10,block=64, each key once";

std::string in_quotes(std::string_view text) {
  return "'" + std::string(text) + "'";
}

[[noreturn]] void refuse(const TierUrl& url, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "tier URL " + in_quotes(url.text) + " " + what);
}

std::string short_number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%g", value);
  return text.data();
}

std::size_t key_index(const TierUrl& url, std::string_view name) {
  for (std::size_t i = 0; i < kKeys.size(); ++i) {
    if (kKeys[i].name == name) {
      return i;
    }
  }
  refuse(url, "has the unknown key " + in_quotes(name) + "; " + std::string(kRight));
}

double key_value(const TierUrl& url, const Key& key, std::string_view text) {
  double value = 0;
  const char* end = text.data() + text.size();
  // NOLINTNEXTLINE(bugprone-suspicious-stringview-data-usage): the end is given
  const auto [stop, failure] = std::from_chars(text.data(), end, value);
  if (failure == std::errc::result_out_of_range) {
    value = HUGE_VAL;
  } else if (failure != std::errc() || stop != end) {
    refuse(url, "has " + std::string(key.name) + "=" + in_quotes(text) + ", which is not a number");
  }
  if (!(value >= key.least && value <= key.most)) {
    refuse(url, "has " + std::string(key.name) + "=" + std::string(text) + "; it must be between " +
                    short_number(key.least) + " and " + short_number(key.most));
  }
  return value;
}

DeviceProfile given_profile(const TierUrl& url) {
  std::array<double, kKeys.size()> values{};  // 0: not given yet, since every value is above it
  std::string_view rest = url.rest;
  while (!rest.empty()) {
    const std::size_t comma = rest.find(',');
    const std::string_view part = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    const std::size_t equals = part.find('=');
    if (equals == std::string_view::npos) {
      refuse(url, "has " + in_quotes(part) + " where key=number is due; " + std::string(kRight));
    }
    const std::size_t index = key_index(url, part.substr(0, equals));
    if (values[index] > 0) {
      refuse(url, "has the key " + in_quotes(kKeys[index].name) + " twice");
    }
    values[index] = key_value(url, kKeys[index], part.substr(equals + 1));
  }
  for (std::size_t i = 0; i < kKeys.size(); ++i) {
    if (values[i] == 0) {
      refuse(url, "lacks the key " + in_quotes(kKeys[i].name) + "; " + std::string(kRight));
    }
  }
  const double block = values[3];
  if (block != std::floor(block) || !std::has_single_bit(static_cast<std::uint32_t>(block))) {
    refuse(url, "has block=" + short_number(block) + "; it must be a power of two, in bytes");
  }
  return {values[0], values[1] * 1e6, values[2] * 1e9, static_cast<std::uint32_t>(block), true, "given"};
}

}  // namespace

DeviceProfile parse_emulated_profile(const TierUrl& url) {
  for (const PublishedProfile& published : published_profiles()) {
    if (published.name == url.rest) {
      return published.profile();
    }
  }
  if (url.rest.find('=') != std::string::npos) {
    return given_profile(url);
  }
  std::string known;
  for (const PublishedProfile& published : published_profiles()) {
    known += std::string(published.name) + ", ";
  }
  refuse(url, "has the unknown profile " + in_quotes(url.rest) + "; known are " + known +
                  "or your own: latency_us=5,reads_mps=20,gbps=10,block=64");
}

}  // namespace tiervec::rdma
