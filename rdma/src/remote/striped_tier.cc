#include <tiervec/rdma/striped_tier.h>

#include <algorithm>
#include <utility>

#include "striped_queue.h"

namespace tiervec::rdma {

std::uint64_t stripe_bytes(std::uint64_t region_bytes, std::uint32_t stripes, std::uint32_t stripe) noexcept {
  const std::uint64_t whole = region_bytes / kStripeExtentBytes;
  const std::uint64_t extents = whole / stripes + (stripe < whole % stripes ? 1 : 0);
  return extents * kStripeExtentBytes + (whole % stripes == stripe ? region_bytes % kStripeExtentBytes : 0);
}

StripedTier::StripedTier(std::string url, std::vector<std::shared_ptr<Tier>> stripes)
    : url_(std::move(url)), stripes_(std::move(stripes)) {
  if (stripes_.size() < 2) {
    throw Error(ErrorCode::kInvalidArgument,
                "striped tier " + url_ + " needs at least 2 stripes, got " + std::to_string(stripes_.size()));
  }
  const auto bytes_on = [&](std::size_t i) { return stripes_[i] == nullptr ? 0 : stripes_[i]->size_bytes(); };
  for (std::size_t i = 0; i < stripes_.size(); ++i) {
    size_bytes_ += bytes_on(i);
  }
  const auto count = static_cast<std::uint32_t>(stripes_.size());
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t right = stripe_bytes(size_bytes_, count, i);
    if (bytes_on(i) != right || size_bytes_ == 0) {
      throw Error(ErrorCode::kInvalidArgument,
                  "the stripes of " + url_ + " are not one region: " +
                      (stripes_[i] == nullptr ? "stripe " + std::to_string(i) : stripes_[i]->url()) + " has " +
                      std::to_string(bytes_on(i)) + " bytes; stripe " + std::to_string(i) + " of " +
                      std::to_string(count) + " of a region of " + std::to_string(size_bytes_) + " bytes has " +
                      std::to_string(right));
    }
  }
}

DeviceProfile StripedTier::profile() const {
  DeviceProfile whole = stripes_.front()->profile();  // it has the first extent
  for (auto stripe = stripes_.begin() + 1; stripe != stripes_.end() && *stripe != nullptr; ++stripe) {
    const DeviceProfile profile = (*stripe)->profile();
    whole.latency_us = std::max(whole.latency_us, profile.latency_us);
    whole.reads_per_s += profile.reads_per_s;
    whole.bytes_per_s += profile.bytes_per_s;
    whole.block_bytes = std::max(whole.block_bytes, profile.block_bytes);
    whole.emulated = whole.emulated || profile.emulated;
  }
  whole.service.clear();  // a curve of one stripe
  return whole;
}

bool StripedTier::verified_at_open() const noexcept {
  return std::all_of(stripes_.begin(), stripes_.end(),
                     [](const auto& stripe) { return stripe == nullptr || stripe->verified_at_open(); });
}

std::unique_ptr<TierQueue> StripedTier::make_queue(const QueueLimits& limits) {
  if (limits.max_read_bytes > kStripeExtentBytes) {
    throw Error(ErrorCode::kInvalidArgument,
                "a queue of " + url_ + " reads at most " + std::to_string(kStripeExtentBytes) +
                    " bytes at once, the size of an extent; asked for " + std::to_string(limits.max_read_bytes));
  }
  std::vector<std::unique_ptr<TierQueue>> queues;
  queues.reserve(stripes_.size());
  for (const auto& stripe : stripes_) {
    queues.push_back(stripe == nullptr ? nullptr : stripe->open_queue(limits));
  }
  return std::make_unique<StripedQueue>(shared_from_this(), std::move(queues), limits);
}

}  // namespace tiervec::rdma
