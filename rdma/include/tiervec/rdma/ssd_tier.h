#pragma once

#include <memory>
#include <string>

#include <tiervec/rdma/tier.h>
#include <tiervec/rdma/tier_registry.h>

namespace tiervec::rdma {

/// What reads a tier's file.
enum class SsdReads { kIoUring, kThreads };

/// What comes after `ssd:`: nothing, or `threads`. Throws kInvalidArgument for anything else.
SsdReads parse_ssd_reads(const TierUrl& url);

/// Throws Error(kUnsupported) when this file cannot be read past the page cache; the sentence says why.
void check_direct_reads(const std::string& region_path);

/// `ssd:`: the file itself, read past the page cache (O_DIRECT) in whole sectors of 4 KiB. What a query asks for lies
/// in one or more of them; all are read, and its views point into the buffer that they were read to.
///
/// Reads go through io_uring: one system call for all reads of a flush, registered buffers and a registered file. Where
/// that is not to be had (not built in, an old kernel, a sandbox), and with `ssd:threads`, a pool of threads reads with
/// pread; the profile's note says which and why, and so does every receipt. The profile is measured when the tier is
/// opened (about 0.1 s).
///
/// A read that fails is kUnavailable; one that ends early, because the file was cut short, kDataLoss. A read with the
/// device cannot be called back: a cancelled batch returns when its reads have landed.
///
/// Throws Error as MmapTier does, and kUnsupported on a file system that does not read past the page cache (tmpfs).
std::shared_ptr<Tier> open_ssd_tier(const TierUrl& url, const std::string& region_path);

inline constexpr TierScheme kSsdScheme{"ssd", "ssd:", "the index files read past the page cache, in sectors of 4 KiB",
                                       [](const TierUrl& url) { (void)parse_ssd_reads(url); }, open_ssd_tier};

/// Whether this process can read by io_uring.
struct IoUringStatus {
  bool available = false;
  std::string reason;  // why not, one sentence; empty when available
};

IoUringStatus io_uring_status();

}  // namespace tiervec::rdma
