#include "dax_header.h"

#include <algorithm>
#include <cstring>

namespace tiervec::rdma {

namespace {

// FNV-1a: a few dozen bytes, once an open.
std::uint64_t hash(std::uint64_t seed, const void* from, std::size_t bytes) noexcept {
  const auto* at = static_cast<const unsigned char*>(from);
  for (std::size_t i = 0; i < bytes; ++i) {
    seed = (seed ^ at[i]) * 0x100000001b3ULL;
  }
  return seed;
}

}  // namespace

std::uint64_t DaxHeader::right_check() const noexcept {
  constexpr std::size_t kFirst = offsetof(DaxHeader, format_version);
  const std::uint64_t of_magic = hash(0xcbf29ce484222325ULL, magic, sizeof magic);
  return hash(of_magic, reinterpret_cast<const std::byte*>(this) + kFirst, offsetof(DaxHeader, check) - kFirst);
}

std::string DaxHeader::name_text() const {
  std::string text(name, std::find(name, name + kNameBytes, '\0'));
  // It goes into messages, wherever it came from.
  std::replace_if(text.begin(), text.end(), [](char c) { return c < 0x20 || c > 0x7e; }, '?');
  return text;
}

DaxState parse_dax_header(std::span<const std::byte> page, std::uint64_t size_bytes, DaxHeader& header) {
  page = page.first(std::min<std::size_t>(page.size(), DaxHeader::kBytes));
  if (std::all_of(page.begin(), page.end(), [](std::byte byte) { return byte == std::byte{0}; })) {
    return DaxState::kFree;
  }
  if (page.size() < DaxHeader::kBytes) {
    return DaxState::kForeign;
  }
  std::memcpy(&header, page.data(), sizeof header);
  if (std::memcmp(header.magic, DaxHeader::kMagic, sizeof header.magic) != 0) {
    return DaxState::kForeign;
  }
  if (header.state == 0) {
    return DaxState::kNotComplete;
  }
  if (header.format_version > DaxHeader::kFormatVersion) {
    return DaxState::kNewer;
  }
  const bool fits = header.region_at == DaxHeader::kBytes && header.region_bytes > 0 &&
                    size_bytes >= DaxHeader::kBytes && header.region_bytes <= size_bytes - DaxHeader::kBytes;
  const bool right = header.state == 1 && header.format_version == DaxHeader::kFormatVersion && fits &&
                     header.check == header.right_check();
  return right ? DaxState::kComplete : DaxState::kDamaged;
}

}  // namespace tiervec::rdma
