#include "striped_queue.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <tiervec/rdma/striped_tier.h>

namespace tiervec::rdma {

namespace {

constexpr std::size_t kPolledAtOnce = 32;
constexpr std::uint32_t kPollsOfIdle = 64;  // a stripe without batches is polled every so often: it may be reconnecting

}  // namespace

// Every read lies on one stripe or, across a border, once on each of two: so a stripe never has more reads than this
// queue, and there are no more parts than twice the reads.
StripedQueue::StripedQueue(std::shared_ptr<const Tier> tier, std::vector<std::unique_ptr<TierQueue>> stripes,
                           QueueLimits limits)
    : tier_(std::move(tier)),
      stripes_(std::move(stripes)),
      in_stripe_(stripes_.size()),
      part_of_stripe_(stripes_.size()),
      limits_(limits),
      size_bytes_(tier_->size_bytes()),
      parts_(std::size_t{2} * limits.max_reads),
      joints_(limits.max_reads),
      rounds_(limits.max_reads),
      buffers_(std::make_unique_for_overwrite<std::byte[]>(std::size_t{limits.max_reads} * limits.max_read_bytes)) {}

bool StripedQueue::available() const noexcept {
  return std::all_of(stripes_.begin(), stripes_.end(),
                     [](const auto& stripe) { return stripe == nullptr || stripe->available(); });
}

bool StripedQueue::valid(const ReadBatch& batch) const noexcept {
  const std::uint64_t longest = std::min<std::uint64_t>(size_bytes_, limits_.max_read_bytes);
  return std::all_of(batch.reads, batch.reads + batch.count, [&](const Read& read) {
    return read.length > 0 && read.length <= longest && read.offset <= size_bytes_ - read.length;
  });
}

void StripedQueue::submit(ReadBatch& batch) noexcept {
  reads_ += batch.count;
  ++batches_;
  if (!valid(batch)) {
    batch.error = ErrorCode::kInvalidArgument;
    batch.queue_word = 0;
    done_.push(batch);
    return;
  }
  Round& round = rounds_.take();
  round = {&batch, nullptr, nullptr, 0, ErrorCode::kOk};
  batch.queue_word = reinterpret_cast<std::uintptr_t>(&round);
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    const Read read = batch.reads[i];
    const std::uint64_t to_border = kStripeExtentBytes - read.offset % kStripeExtentBytes;
    if (read.length <= to_border) [[likely]] {
      add_read(round, i, read.offset, read.length, false);
      continue;
    }
    const auto first_bytes = static_cast<std::uint32_t>(to_border);
    take_joint(round).read = i;
    add_read(round, i, read.offset, first_bytes, false);
    add_read(round, i, read.offset + first_bytes, read.length - first_bytes, true);
  }
  for (Part* part = round.parts; part != nullptr; part = part->next) {
    part_of_stripe_[part->stripe] = nullptr;
    part->batch.error = ErrorCode::kOk;
    part->batch.attempt = batch.attempt;
    part->in_flight = true;
    ++round.waiting;
    ++in_stripe_[part->stripe];
    stripes_[part->stripe]->submit(part->batch);
  }
}

void StripedQueue::add_read(Round& round, std::uint32_t read, std::uint64_t offset, std::uint32_t length,
                            bool completes) noexcept {
  const std::uint64_t extent = offset / kStripeExtentBytes;
  Part& part = part_on(round, static_cast<std::uint32_t>(extent % stripes_.size()));
  const std::uint32_t place = part.batch.count++;
  part.batch.reads[place] = {extent / stripes_.size() * kStripeExtentBytes + offset % kStripeExtentBytes, length};
  part.read_of[place] = static_cast<std::uint8_t>(read);
  part.completes[place] = completes;
}

StripedQueue::Part& StripedQueue::part_on(Round& round, std::uint32_t stripe) noexcept {
  Part*& known = part_of_stripe_[stripe];
  if (known == nullptr) {
    known = &parts_.take();
    known->batch.count = 0;
    known->batch.owner = known;
    known->round = &round;
    known->stripe = stripe;
    known->next = round.parts;
    round.parts = known;
  }
  return *known;
}

StripedQueue::Joint& StripedQueue::take_joint(Round& round) noexcept {
  Joint& joint = joints_.take();
  if (joint.buffer == nullptr) {
    joint.buffer = buffers_.get() + std::size_t{buffers_used_++} * limits_.max_read_bytes;
  }
  joint.next = round.joints;
  round.joints = &joint;
  return joint;
}

void StripedQueue::flush() noexcept {
  for (const auto& stripe : stripes_) {
    if (stripe != nullptr) {
      stripe->flush();
    }
  }
}

std::size_t StripedQueue::poll(std::span<ReadBatch*> done) noexcept {
  const bool idle_too = ++polls_ % kPollsOfIdle == 0;
  for (std::size_t i = 0; i < stripes_.size(); ++i) {
    if (in_stripe_[i] == 0 && (!idle_too || stripes_[i] == nullptr)) {
      continue;
    }
    ReadBatch* parts[kPolledAtOnce];
    std::size_t polled = 0;
    do {
      polled = stripes_[i]->poll(parts);
      in_stripe_[i] -= static_cast<std::uint32_t>(polled);
      for (std::size_t at = 0; at < polled; ++at) {
        take_part(*static_cast<Part*>(parts[at]->owner));
      }
    } while (polled == kPolledAtOnce);
  }
  std::size_t count = 0;
  while (count < done.size() && !done_.empty()) {
    ReadBatch& batch = done_.pop();
    if (batch.error != ErrorCode::kOk) {
      reads_ -= batch.count;
    }
    done[count++] = &batch;
  }
  batches_ -= count;
  return count;
}

void StripedQueue::take_part(Part& part) noexcept {
  Round& round = *part.round;
  part.in_flight = false;
  --round.waiting;
  if (part.batch.error != ErrorCode::kOk && round.error == ErrorCode::kOk) [[unlikely]] {
    round.error = part.batch.error;
    cancel_parts(round);
  }
  if (round.waiting == 0) {
    finish(round);
  }
}

void StripedQueue::cancel_parts(Round& round) noexcept {
  for (Part* part = round.parts; part != nullptr; part = part->next) {
    if (part->in_flight) {
      stripes_[part->stripe]->cancel(part->batch);
    }
  }
}

void StripedQueue::finish(Round& round) noexcept {
  ReadBatch& batch = *round.batch;
  batch.error = round.error;
  if (round.error == ErrorCode::kOk) [[likely]] {
    set_views(round);
  } else {
    batch.queue_word = 0;
    free(round);
  }
  done_.push(batch);
}

void StripedQueue::set_views(Round& round) noexcept {
  ReadBatch& batch = *round.batch;
  for (const Joint* joint = round.joints; joint != nullptr; joint = joint->next) {
    batch.views[joint->read] = joint->buffer;
  }
  const bool joined = round.joints != nullptr;
  for (const Part* part = round.parts; part != nullptr; part = part->next) {
    for (std::uint32_t i = 0; i < part->batch.count; ++i) {
      const std::uint32_t read = part->read_of[i];
      const std::uint32_t length = part->batch.reads[i].length;
      if (!joined || length == batch.reads[read].length) [[likely]] {
        batch.views[read] = part->batch.views[i];
        continue;
      }
      const std::uint32_t at = part->completes[i] ? batch.reads[read].length - length : 0;
      std::memcpy(const_cast<std::byte*>(batch.views[read]) + at, part->batch.views[i], length);
    }
  }
}

void StripedQueue::free(Round& round) noexcept {
  for (Part* part = round.parts; part != nullptr;) {
    Part* const next = part->next;
    if (part->batch.error == ErrorCode::kOk) {
      stripes_[part->stripe]->release(part->batch);
    }
    parts_.give_back(*part);
    part = next;
  }
  for (Joint* joint = round.joints; joint != nullptr;) {
    Joint* const next = joint->next;
    joints_.give_back(*joint);
    joint = next;
  }
  rounds_.give_back(round);
}

void StripedQueue::release(ReadBatch& batch) noexcept {
  reads_ -= batch.count;
  free(*reinterpret_cast<Round*>(batch.queue_word));  // NOLINT(performance-no-int-to-ptr)
}

void StripedQueue::cancel(ReadBatch& batch) noexcept {
  if (batch.queue_word == 0) {
    return;
  }
  Round& round = *reinterpret_cast<Round*>(batch.queue_word);  // NOLINT(performance-no-int-to-ptr)
  if (round.waiting > 0 && round.error == ErrorCode::kOk) {
    round.error = ErrorCode::kCancelled;
    cancel_parts(round);
  }
}

}  // namespace tiervec::rdma
