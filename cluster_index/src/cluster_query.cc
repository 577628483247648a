#include "cluster_query.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include <tiervec/core/codes/nearest_hits.h>
#include <tiervec/rdma/device_profile.h>

#include "block_scan.h"
#include "sort_numbers.h"

namespace tiervec::cluster_index {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::uint32_t kHeldPerKept = 4;     // hits that gather before they are cut back to the best
constexpr std::uint32_t kFirstClusters = 32;  // scanned first, so that a bound is known before the many

std::size_t lines(std::size_t bytes) {
  return std::max<std::size_t>(1, (bytes + 63) / 64);
}

std::uint64_t members_of(const ClusterFastPart& part, std::size_t cluster) {
  if (part.layout == Layout::kReplicated) return part.posting_counts[cluster];
  std::uint64_t members = part.cluster_offsets[cluster + 1] - part.cluster_offsets[cluster];
  if (part.layout != Layout::kCoded) members += part.posting_offsets[cluster + 1] - part.posting_offsets[cluster];
  return members;
}

std::uint64_t largest_cluster(const ClusterFastPart& part) {
  std::uint64_t most = 0;
  for (std::size_t i = 0; i < part.navigation.clusters(); ++i) most = std::max(most, members_of(part, i));
  return most;
}

std::uint64_t all_members(const ClusterFastPart& part) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < part.navigation.clusters(); ++i) sum += members_of(part, i);
  return sum;
}

}  // namespace

ClusterReads ClusterReads::of(const ClusterFastPart& part, const rdma::Tier& tier) {
  ClusterReads reads;
  reads.record = part.record();
  reads.verify = !tier.verified_at_open();
  const double knee = rdma::knee_bytes(tier.profile());
  reads.knee_bytes = static_cast<std::uint32_t>(std::clamp(std::isfinite(knee) ? knee : 0.0, 0.0, 4096.0));
  const std::uint32_t most_bytes = part.layout == Layout::kCoded ? kMostCodedBytes : kMostBytes;
  reads.most_records = std::max(1U, most_bytes / reads.record.bytes());
  return reads;
}

void ClusterQuery::HitStorage::reserve(std::size_t room) {
  if (distances.size() >= room) return;
  distances.resize(room);
  rows.resize(room);
  hits.distances = distances.data();
  hits.rows = rows.data();
}

ClusterQuery::ClusterQuery(const ClusterFastPart& part, const ClusterReads& reads)
    : part_(part),
      reads_(reads),
      most_members_(largest_cluster(part)),
      total_members_(all_members(part)),
      exact_distance_(part.dtype, part.metric, part.dim),
      centroid_state_(lines(part.navigation.code().query_bytes())),
      code_state_(lines(part.code == nullptr ? 0 : part.code->query_bytes())) {}

void ClusterQuery::reserve(const ClusterSearchParameters& parameters) {
  const std::uint32_t room = part_.navigation.room(parameters.nprobe);
  groups_.reserve(room);
  clusters_.reserve(room);
  results_.reserve(parameters.k);
  std::uint64_t positions = parameters.rerank;
  if (part_.layout == Layout::kCoded) {
    candidates_.reserve(BlockScan::room(std::size_t{kHeldPerKept} * (parameters.rerank + 1)));
  } else if (part_.layout != Layout::kReplicated) {
    const std::uint64_t probed = std::min(parameters.nprobe, part_.navigation.clusters());
    positions = std::min(total_members_, probed * most_members_);
  }
  if (positions_.size() < positions) positions_.resize(positions);
  if (part_.addresses.bits != nullptr && addresses_.size() < 2 * positions) addresses_.resize(2 * positions);
}

ErrorCode ClusterQuery::start(const std::byte* query, std::int64_t exclude,
                              const ClusterSearchParameters& parameters) noexcept {
  parameters_ = parameters;
  gap_bytes_ = parameters.coalesce_bytes.value_or(reads_.knee_bytes);
  excluded_ = exclude < 0 ? kNobody : static_cast<std::uint32_t>(exclude);
  cost_ = rdma::QueryCost{};
  results_.clear(parameters.k);
  position_count_ = next_ = next_record_ = 0;
  batch_.attempt = 0;
  damaged_copies_ = 0;
  exact_distance_.start(query);
  const ClusterNavigation& navigation = part_.navigation;
  navigation.code().make_query(exact_distance_.widened(), centroid_state());
  cost_.code_distances += navigation.nearest(centroid_state(), parameters.nprobe, groups_.hits, clusters_.hits);
  if (part_.layout == Layout::kReplicated) return ErrorCode::kOk;
  if (part_.layout != Layout::kCoded) return list_members();
  part_.code->make_query(exact_distance_.widened(), code_state());
  scan_clusters();
  return ErrorCode::kOk;
}

// Beyond it a cluster is hardly worth a look. A query that has found what is near soon does not need all clusters that
// were asked for; more are wanted when more are asked for, so that any recall can be had.
float ClusterQuery::farthest_wanted(float farthest) const noexcept {
  const float bound = candidates_.hits.bound;
  if (bound >= farthest) return kInfinity;
  const float by_share = part_.metric == Metric::kIp ? 0 : parameters_.prune * std::fabs(bound);  // ip has no zero
  return bound + std::max(by_share, (farthest - bound) / 2);
}

// The nearest clusters first: after them the bound lets little through, and decides which of the others are looked at
// at all.
void ClusterQuery::scan_clusters() noexcept {
  codes::ScanHits& found = candidates_.hits;
  found.count = 0;
  found.bound = kInfinity;
  // Moves the nearest to the front.
  const codes::ScanHits& clusters = clusters_.hits;
  codes::ScanHits& near = groups_.hits;  // scratch of the navigation
  near.count = clusters.count;
  std::copy_n(clusters.distances, clusters.count, near.distances);
  std::copy_n(clusters.rows, clusters.count, near.rows);
  codes::keep_nearest(near, std::min(kFirstClusters, clusters.count), kFirstClusters + kFirstClusters / 2);
  const float near_bound = near.count < clusters.count ? near.bound : kInfinity;
  std::uint32_t count = near.count;
  for (std::uint32_t i = 0; i < clusters.count; ++i) {
    near.distances[count] = clusters.distances[i];
    near.rows[count] = clusters.rows[i];
    count += clusters.distances[i] > near_bound ? 1U : 0U;
  }
  if (count != clusters.count) {  // many equal distances, of which keep_nearest dropped some
    count = clusters.count;
    std::copy_n(clusters.distances, count, near.distances);
    std::copy_n(clusters.rows, count, near.rows);
  }
  for (std::uint32_t i = 0; i < count; ++i) __builtin_prefetch(&part_.cluster_offsets[near.rows[i]]);
  const std::uint32_t keep = parameters_.rerank + (excluded_ == kNobody ? 0 : 1);
  BlockScan scan(*part_.code, code_state(), part_.code_blocks, found, keep, kHeldPerKept * keep);
  const bool prunes = parameters_.prune > 0 && parameters_.nprobe < part_.navigation.clusters();
  const float farthest = prunes ? *std::max_element(near.distances, near.distances + count) : kInfinity;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (i == near.count) {
      scan.finish();
      codes::keep_nearest(found, keep, keep + keep / 4);
    }
    if (prunes && near.distances[i] > farthest_wanted(farthest)) continue;
    const std::uint32_t first = part_.cluster_offsets[near.rows[i]];
    const std::uint32_t end = part_.cluster_offsets[near.rows[i] + 1];
    scan.add(first, end, near.distances[i]);
    cost_.code_distances += end - first;
  }
  scan.finish();
  codes::keep_nearest(found, keep, keep);
  for (std::uint32_t i = 0; i < found.count && position_count_ < parameters_.rerank; ++i) {
    positions_[position_count_] = found.rows[i];
    position_count_ += found.rows[i] != excluded_ ? 1U : 0U;
  }
  sort_positions();
}

// Clusters' own ranges lie in the order of the clusters, so that only addresses have to be sorted.
ErrorCode ClusterQuery::list_members() noexcept {
  std::uint32_t* const clusters = clusters_.hits.rows;
  const std::uint32_t count = clusters_.hits.count;
  for (std::uint32_t i = 0; i < count; ++i) {
    __builtin_prefetch(&part_.cluster_offsets[clusters[i]]);
    __builtin_prefetch(&part_.posting_offsets[clusters[i]]);
  }
  std::sort(clusters, clusters + count);
  for (std::uint32_t i = 0; i < count; ++i) part_.addresses.prefetch(part_.posting_offsets[clusters[i]]);
  std::uint32_t* const addresses = addresses_.data();
  std::size_t address_count = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    for (std::uint64_t a = part_.posting_offsets[clusters[i]]; a < part_.posting_offsets[clusters[i] + 1]; ++a) {
      const std::uint64_t position = part_.addresses[a];
      if (position >= part_.count) return ErrorCode::kDataLoss;
      addresses[address_count++] = static_cast<std::uint32_t>(position);
    }
  }
  sort_numbers(addresses, address_count, std::bit_width(part_.count - 1), addresses + addresses_.size() / 2);
  merge_ranges(std::span(clusters, count), std::span(addresses, address_count));
  return ErrorCode::kOk;
}

void ClusterQuery::merge_ranges(std::span<const std::uint32_t> clusters,
                                std::span<const std::uint32_t> addresses) noexcept {
  std::uint32_t* const positions = positions_.data();
  std::uint32_t count = 0;
  std::size_t next = 0;
  const auto add_addresses_below = [&](std::uint32_t limit) {
    for (; next < addresses.size() && addresses[next] < limit; ++next) {
      positions[count] = addresses[next];
      count += count == 0 || positions[count - 1] != addresses[next] ? 1U : 0U;
    }
  };
  for (const std::uint32_t cluster : clusters) {
    const std::uint32_t first = part_.cluster_offsets[cluster];
    const std::uint32_t end = part_.cluster_offsets[cluster + 1];
    add_addresses_below(first);
    for (std::uint32_t p = first; p < end; ++p) positions[count++] = p;
    while (next < addresses.size() && addresses[next] < end) ++next;
  }
  add_addresses_below(part_.count);
  if (excluded_ != kNobody)
    count = static_cast<std::uint32_t>(std::remove(positions, positions + count, excluded_) - positions);
  position_count_ = count;
}

void ClusterQuery::sort_positions() noexcept {
  const auto begin = positions_.begin();
  std::sort(begin, begin + position_count_);
  auto end = std::unique(begin, begin + position_count_);
  if (excluded_ != kNobody) end = std::remove(begin, end, excluded_);
  position_count_ = static_cast<std::uint32_t>(end - begin);
}

void ClusterQuery::add_read(Run run, std::uint64_t offset, std::uint32_t records) noexcept {
  const std::uint32_t length = records * reads_.record.bytes();
  batch_.reads[batch_.count] = {.offset = offset, .length = length};
  runs_[batch_.count++] = run;
  cost_.bytes += length;
}

bool ClusterQuery::choose() noexcept {
  batch_.count = 0;
  if (part_.layout == Layout::kReplicated) {
    choose_postings();
  } else {
    choose_positions();
  }
  cost_.reads += batch_.count;
  cost_.rounds += batch_.count > 0 ? 1U : 0U;
  return batch_.count > 0;
}

void ClusterQuery::choose_positions() noexcept {
  const std::uint64_t record_bytes = reads_.record.bytes();
  const bool coded = part_.layout == Layout::kCoded;  // then many of the few records become results
  while (next_ < position_count_ && batch_.count < rdma::ReadBatch::kMaxReads) {
    const std::uint32_t first = next_;
    const std::uint32_t from = positions_[first];
    if (coded) part_.ids.prefetch(from);
    for (++next_; next_ < position_count_; ++next_) {
      const std::uint64_t gap = positions_[next_] - positions_[next_ - 1] - 1;
      if (gap * record_bytes > gap_bytes_ || positions_[next_] - from >= reads_.most_records) break;
      if (coded) part_.ids.prefetch(positions_[next_]);
    }
    add_read({first, next_}, from * record_bytes, positions_[next_ - 1] - from + 1);
  }
}

void ClusterQuery::choose_postings() noexcept {
  const std::uint64_t record_bytes = reads_.record.bytes();
  while (next_ < clusters_.hits.count && batch_.count < rdma::ReadBatch::kMaxReads) {
    const std::uint32_t cluster = clusters_.hits.rows[next_];
    const std::uint32_t records = std::min(part_.posting_counts[cluster] - next_record_, reads_.most_records);
    if (records == 0) {
      ++next_;
      next_record_ = 0;
      continue;
    }
    add_read({0, records}, part_.posting_offsets[cluster] + next_record_ * record_bytes, records);
    next_record_ += records;
  }
}

ErrorCode ClusterQuery::absorb() noexcept {
  const std::uint32_t record_bytes = reads_.record.bytes();
  const bool in_posting = part_.layout == Layout::kReplicated;
  for (std::uint32_t i = 0; i < batch_.count; ++i) {
    for (std::uint32_t j = runs_[i].first; j < runs_[i].end; ++j) {
      const std::byte* record = batch_.views[i] + std::size_t{record_of(runs_[i], j)} * record_bytes;
      const std::uint32_t position = in_posting ? reads_.record.position(record) : positions_[j];
      if (reads_.verify && !reads_.record.intact(position, record)) {
        const bool again = i == 0 && j == runs_[0].first;  // what is read again is first in its batch
        damaged_copies_ = again ? damaged_copies_ + 1 : 1;
        damaged_ = {i, j};
        return ErrorCode::kDataLoss;
      }
      if (position >= part_.count) {  // with a right check, or on a verified tier: other copies are no better
        damaged_copies_ = 0;
        return ErrorCode::kDataLoss;
      }
      absorb_record(position, record);
    }
  }
  if (damaged_copies_ > 0) [[unlikely]] {
    batch_.attempt = 0;
    damaged_copies_ = 0;
  }
  return ErrorCode::kOk;
}

bool ClusterQuery::reread_from_next_replica(std::uint32_t replicas) noexcept {
  if (damaged_copies_ == 0 || damaged_copies_ >= replicas) return false;
  const auto [at, first] = damaged_;
  rdma::Read& read = batch_.reads[at];
  const std::uint32_t absorbed_bytes = record_of(runs_[at], first) * reads_.record.bytes();
  read.offset += absorbed_bytes;
  read.length -= absorbed_bytes;
  runs_[at].first = first;
  std::copy(runs_ + at, runs_ + batch_.count, runs_);
  std::copy(batch_.reads + at, batch_.reads + batch_.count, batch_.reads);
  batch_.count -= at;
  ++batch_.attempt;
  for (std::uint32_t i = 0; i < batch_.count; ++i) cost_.bytes += batch_.reads[i].length;
  cost_.reads += batch_.count;
  cost_.rereads += batch_.count;
  ++cost_.rounds;
  return true;
}

std::uint32_t ClusterQuery::record_of(Run run, std::uint32_t j) const noexcept {
  return part_.layout == Layout::kReplicated ? j - run.first : positions_[j] - positions_[run.first];
}

void ClusterQuery::absorb_record(std::uint32_t position, const std::byte* record) noexcept {
  if (position == excluded_) return;
  const float distance = exact_distance_(record);
  if (distance > results_.kth()) return;  // most are, and their labels are not in the caches
  const auto label = static_cast<std::int64_t>(part_.ids[position]);
  if (part_.layout == Layout::kReplicated) {
    results_.add_once(distance, label);
  } else {
    results_.add(distance, label);
  }
}

}  // namespace tiervec::cluster_index
