#include <tiervec/rdma/dax_tier.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <ctime>
#include <string_view>
#include <utility>

#include <tiervec/rdma/load_store_queue.h>

#include "../region_file.h"
#include "dax_header.h"
#include "dax_mapping.h"

namespace tiervec::rdma {

namespace {

constexpr std::string_view kOverwrite = "overwrite";

/// One 8-byte store that no compiler splits or moves.
void store_word(std::byte* at, std::uint64_t value) noexcept {
  std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(at)).store(value, std::memory_order_release);
}

std::string describe(const DaxHeader& header) {
  char day[16] = "";
  const auto seconds = static_cast<std::time_t>(header.written_at);
  std::tm time{};
  if (::gmtime_r(&seconds, &time) != nullptr) {
    (void)std::strftime(day, sizeof day, "%Y-%m-%d", &time);
  }
  return "'" + header.name_text() + "' of " + std::to_string(header.region_bytes) + " bytes, written " + day;
}

[[noreturn]] void refuse(const DaxPlace& place, DaxState state, const DaxHeader& header) {
  const std::string where = "dax:" + place.path;
  const std::string overwriting = "open " + where + "?overwrite once";
  switch (state) {
    case DaxState::kComplete:
      throw Error(ErrorCode::kAlreadyExists, where + " holds another region, " + describe(header) +
                                                 "; give another path, or to replace that region " + overwriting);
    case DaxState::kNewer:
      throw Error(ErrorCode::kUnsupported, where + " holds a region of format " +
                                               std::to_string(header.format_version) + "; this version reads up to " +
                                               std::to_string(DaxHeader::kFormatVersion) + ": upgrade tiervec");
    case DaxState::kDamaged:
      throw Error(ErrorCode::kDataLoss, where +
                                            " holds a region whose header is damaged, or which was cut short; to "
                                            "load the region again " +
                                            overwriting);
    default:
      throw Error(ErrorCode::kAlreadyExists, where +
                                                 " holds what TierVec did not write (its first page is not all "
                                                 "zeros) and is left alone; if nobody needs that, " +
                                                 overwriting);
  }
}

DaxState look_at(const DaxMapping& mapping, DaxHeader& header) {
  return parse_dax_header(mapping.bytes(), mapping.bytes().size(), header);
}

bool is_free(const DaxPlace& place, DaxState state) {
  return state == DaxState::kFree || state == DaxState::kNotComplete || place.overwrite;
}

/// Leads every state to "not complete".
void claim(DaxMapping& mapping) {
  std::byte* const page = mapping.bytes().data();
  if (std::memcmp(page, DaxHeader::kMagic, sizeof DaxHeader::magic) != 0) {
    // Foreign, or zeros. Cleared before it becomes ours: a state other than 0 would be believed.
    std::memset(page, 0, DaxHeader::kBytes);
    mapping.persist(0, DaxHeader::kBytes);
    std::uint64_t magic = 0;
    std::memcpy(&magic, DaxHeader::kMagic, sizeof magic);
    store_word(page, magic);
  } else {
    store_word(page + offsetof(DaxHeader, state), 0);
  }
  mapping.persist(0, DaxHeader::kBytes);
}

}  // namespace

DaxPlace parse_dax_place(const TierUrl& url) {
  const std::size_t mark = url.rest.rfind('?');
  DaxPlace place{url.text, url.rest.substr(0, mark), mark != std::string::npos};
  if (place.path.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "tier URL '" + url.text +
                                                 "' has no path after 'dax:'; it takes a DAX device such as "
                                                 "dax:/dev/dax0.0, or a file on a DAX file system");
  }
  if (place.overwrite && url.rest.substr(mark + 1) != kOverwrite) {
    throw Error(ErrorCode::kInvalidArgument, "tier URL '" + url.text + "' has the unknown option '" +
                                                 url.rest.substr(mark + 1) + "'; known is overwrite");
  }
  return place;
}

DaxTier::DaxTier(DaxPlace place, std::unique_ptr<DaxMapping> mapping, std::uint64_t region_bytes)
    : place_(std::move(place)), mapping_(std::move(mapping)), region_bytes_(region_bytes) {}

DaxTier::~DaxTier() = default;

std::shared_ptr<DaxTier> DaxTier::attach(const DaxPlace& place, std::uint64_t size_bytes, std::uint64_t checksum) {
  std::unique_ptr<DaxMapping> mapping;
  try {
    mapping = std::make_unique<DaxMapping>(place.path, DaxMapping::Use::kRead);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kNotFound && !is_device_path(place.path)) {
      return nullptr;
    }
    throw;
  }
  DaxHeader header;
  const DaxState state = look_at(*mapping, header);
  if (state == DaxState::kComplete && header.region_bytes == size_bytes && header.checksum == checksum) {
    return std::make_shared<DaxTier>(place, std::move(mapping), size_bytes);
  }
  if (!is_free(place, state)) {
    refuse(place, state, header);
  }
  return nullptr;
}

std::shared_ptr<DaxTier> DaxTier::load(const DaxPlace& place, const std::string& region_path) {
  const RegionFile file(region_path);
  auto mapping = std::make_unique<DaxMapping>(place.path, DaxMapping::Use::kWrite);
  DaxHeader header;
  const DaxState state = look_at(*mapping, header);
  if (!is_free(place, state)) {
    refuse(place, state, header);
  }
  mapping->reserve(DaxHeader::kBytes + file.size_bytes());
  claim(*mapping);
  file.read_into(mapping->bytes().data() + DaxHeader::kBytes);
  mapping->persist(DaxHeader::kBytes, file.size_bytes());
  return std::make_shared<DaxTier>(place, std::move(mapping), file.size_bytes());
}

std::shared_ptr<Tier> DaxTier::open(const TierUrl& url, const std::string& region_path) {
  return load(parse_dax_place(url), region_path);
}

void DaxTier::complete(std::uint64_t checksum, const std::string& name) {
  DaxHeader header;
  std::byte* const page = mapping_->bytes().data();
  std::memcpy(header.magic, DaxHeader::kMagic, sizeof header.magic);
  header.format_version = DaxHeader::kFormatVersion;
  header.region_at = DaxHeader::kBytes;
  header.region_bytes = region_bytes_;
  header.checksum = checksum;
  header.written_at = static_cast<std::uint64_t>(std::time(nullptr));
  std::copy_n(name.data(), std::min(name.size(), DaxHeader::kNameBytes), header.name);
  header.check = header.right_check();
  const std::size_t fields = offsetof(DaxHeader, format_version);  // magic and state stay
  std::memcpy(page + fields, reinterpret_cast<const std::byte*>(&header) + fields, sizeof header - fields);
  mapping_->persist(0, DaxHeader::kBytes);
  store_word(page + offsetof(DaxHeader, state), 1);
  mapping_->persist(0, DaxHeader::kBytes);
  mapping_->become_reader();
}

std::span<const std::byte> DaxTier::bytes() const noexcept {
  return mapping_->bytes().subspan(DaxHeader::kBytes, region_bytes_);
}

// Typical of local memory; `tiervec profile` measures the device at hand.
DeviceProfile DaxTier::profile() const {
  DeviceProfile profile{.latency_us = 0.1, .reads_per_s = 80e6, .bytes_per_s = 12e9, .block_bytes = 64};
  if (!mapping_->direct()) {
    profile.note = place_.path + " is not on DAX: reads go through the page cache, as those of mmap: do";
  }
  return profile;
}

std::unique_ptr<TierQueue> DaxTier::make_queue(const QueueLimits& limits) {
  return std::make_unique<LoadStoreQueue>(shared_from_this(), LoadStoreTarget(bytes(), limits.max_read_bytes),
                                          limits.max_reads);
}

}  // namespace tiervec::rdma
