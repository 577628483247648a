#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <tiervec/rdma/tier.h>
#include <tiervec/rdma/tier_registry.h>

namespace tiervec::rdma {

class DaxMapping;

/// What comes after `dax:`: a path, and whether `?overwrite` stands behind it.
struct DaxPlace {
  std::string url;
  std::string path;
  bool overwrite = false;
};

/// Throws kInvalidArgument when there is no path, or another option than `overwrite`.
DaxPlace parse_dax_place(const TierUrl& url);

/// `dax:<path>`: a region on a device-DAX character device, or in a file on a DAX file system (on any other it works
/// through the page cache, which the profile's note says). It outlives the process and is found again by its header
/// (src/dax/dax_header.h) without being read.
///
///   free place --load--> not complete --complete--> complete --attach--> ...
///
/// A place is free when its first page is all zeros, when it does not exist or is empty (a file), or when a load into
/// it was never completed. Everything else is refused with kAlreadyExists, unless the URL ends in `?overwrite`.
class DaxTier final : public Tier {
 public:
  DaxTier(DaxPlace place, std::unique_ptr<DaxMapping> mapping, std::uint64_t region_bytes);
  ~DaxTier() override;

  /// The complete region of that size and checksum, or null when the place is free. Throws Error beside kAlreadyExists:
  /// kNotFound (no such device), kInvalidArgument (not a DAX device or file, no right to it), kUnavailable (another
  /// process loads it), kDataLoss (a damaged header, or the file was cut short), kUnsupported (a newer format).
  static std::shared_ptr<DaxTier> attach(const DaxPlace& place, std::uint64_t size_bytes, std::uint64_t checksum);
  /// Copies a file into a free place; it stays not complete, so that the next load may replace it. Throws as attach
  /// does, kUnavailable when anybody else uses the place, kResourceExhausted when it is too small.
  static std::shared_ptr<DaxTier> load(const DaxPlace& place, const std::string& region_path);
  static std::shared_ptr<Tier> open(const TierUrl& url, const std::string& region_path);

  /// Marks a loaded region complete, for attach. `name` is for people. Not while another thread uses the tier.
  void complete(std::uint64_t checksum, const std::string& name);

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept;

  [[nodiscard]] std::string url() const override { return place_.url; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return region_bytes_; }
  [[nodiscard]] DeviceProfile profile() const override;
  /// Others may write to the device, and a medium ages.
  [[nodiscard]] bool verified_at_open() const noexcept override { return false; }

 private:
  [[nodiscard]] std::unique_ptr<TierQueue> make_queue(const QueueLimits& limits) override;

  DaxPlace place_;
  std::unique_ptr<DaxMapping> mapping_;
  std::uint64_t region_bytes_;
};

inline constexpr TierScheme kDaxScheme{"dax", "dax:<path>",
                                       "a DAX device or a file on a DAX file system; found again by later processes",
                                       [](const TierUrl& url) { (void)parse_dax_place(url); }, DaxTier::open};

}  // namespace tiervec::rdma
