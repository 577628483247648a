#include <tiervec/rdma/read_bytes.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include <tiervec/core/polling_budget.h>

#include <tiervec/core/idle_step.h>

namespace tiervec::rdma {

namespace {

constexpr std::uint32_t kPieceBytes = 64 * 1024;

void read_piece(Tier& tier, TierQueue& queue, ReadBatch& batch, std::span<std::byte> out,
                std::chrono::steady_clock::time_point deadline) {
  const std::string what = "reading " + std::to_string(batch.reads[0].length) + " bytes at " +
                           std::to_string(batch.reads[0].offset) + " of " + tier.url();
  queue.submit(batch);
  queue.flush();
  ReadBatch* done[1];
  const auto started = std::chrono::steady_clock::now();
  for (std::uint32_t turns = 1; queue.poll(done) == 0; ++turns) {
    const auto now = std::chrono::steady_clock::now();
    if (now > deadline) {
      throw Error(ErrorCode::kDeadlineExceeded, what + ": no answer in time");
    }
    if (!queue.wait()) take(idle_step(turns, now - started, PollingBudget::of_process().is_exceeded()));
  }
  if (batch.error != ErrorCode::kOk) {
    throw Error(batch.error, what + " failed: " + error_code_name(batch.error));
  }
  std::memcpy(out.data(), batch.views[0], out.size());
  queue.release(batch);
}

}  // namespace

std::vector<std::byte> read_bytes(Tier& tier, std::uint64_t offset, std::uint64_t length, std::uint32_t attempt,
                                  std::chrono::milliseconds timeout) {
  if (offset > tier.size_bytes() || length > tier.size_bytes() - offset) {
    throw Error(ErrorCode::kInvalidArgument, "reading " + std::to_string(length) + " bytes at " +
                                                 std::to_string(offset) + ": " + tier.url() + " has " +
                                                 std::to_string(tier.size_bytes()));
  }
  std::vector<std::byte> bytes(length);
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  const auto batch = std::make_unique<ReadBatch>();  // before the queue, which may hold it when an error is thrown
  const std::unique_ptr<TierQueue> queue = tier.open_queue({.max_reads = 1, .max_read_bytes = kPieceBytes});
  for (std::span<std::byte> rest = bytes; !rest.empty();) {
    const std::size_t piece = std::min<std::size_t>(rest.size(), kPieceBytes);
    batch->count = 1;
    batch->attempt = attempt;
    batch->reads[0] = {.offset = offset, .length = static_cast<std::uint32_t>(piece)};
    read_piece(tier, *queue, *batch, rest.first(piece), deadline);
    rest = rest.subspan(piece);
    offset += piece;
  }
  return bytes;
}

}  // namespace tiervec::rdma
