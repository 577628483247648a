#include "cluster_query.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include <tiervec/core/codes/nearest_hits.h>
#include <tiervec/rdma/device_profile.h>

namespace tiervec::cluster_index {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::uint32_t kMostTogether = 8;  // records whose distances are computed together
constexpr std::uint32_t kTogetherBytes = 2048;
constexpr std::uint32_t kAheadBytes = 8 * 1024;
constexpr std::uint32_t kHeldPerKept = 4;     // hits that gather before they are cut back to the best
constexpr std::uint32_t kFirstClusters = 32;  // scanned first, so that a bound is known before the many
// Layouts that read whole postings: a cluster that is not among the nearest costs reads, so they look closer.
constexpr double kCareForReads = 2;
constexpr std::int64_t kNowhere = std::numeric_limits<std::int64_t>::max() / 2;  // behind all positions

std::uint32_t is_negative(std::int64_t value) {
  return static_cast<std::uint32_t>(static_cast<std::uint64_t>(value) >> 63);
}

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

std::uint64_t longest(const auto& offsets) {
  std::uint64_t most = 0;
  for (std::size_t i = 1; i < offsets.size(); ++i) most = std::max<std::uint64_t>(most, offsets[i] - offsets[i - 1]);
  return most;
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
  reads.most_batches = part.layout == Layout::kGrouped || part.layout == Layout::kDecoupled ? kMostBatches : 1;
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
      most_addresses_(longest(part.posting_offsets)),
      most_own_reads_((longest(part.cluster_offsets) + reads.most_records - 1) / reads.most_records),
      exact_distance_(part.dtype, part.metric, part.dim),
      centroid_state_(lines(part.navigation.code().query_bytes())),
      code_state_(lines(part.code == nullptr ? 0 : part.code->query_bytes())),
      together_(std::bit_floor(std::clamp(kTogetherBytes / reads.record.bytes(), 1U, kMostTogether))),
      ahead_(std::clamp(kAheadBytes / reads.record.bytes(), 2 * together_, Ahead::kRoom)),
      batches_(reads.most_batches),
      first_piece_(reads.most_reads() + 1) {
  for (rdma::ReadBatch& batch : batches_) batch.prefetch = part.layout == Layout::kCoded;
}

void ClusterQuery::reserve(const ClusterSearchParameters& parameters, bool helped, const engine::RowFilter* filter) {
  const std::size_t room = part_.navigation.room(parameters.nprobe);
  groups_.reserve(room);
  clusters_.reserve(room);
  results_.reserve(parameters.k);
  std::uint64_t members = std::max<std::uint64_t>(parameters.rerank, reads_.most_reads());
  if (part_.layout == Layout::kCoded) {
    const std::size_t most_kept = (part_.spill_offsets.empty() ? 1 : 2) * (std::size_t{parameters.rerank} + 1);
    const std::size_t found = BlockScan::room(kHeldPerKept * most_kept);
    candidates_.reserve(found);
    if (helped) helped_.reserve(std::max(room, found));
    if (!part_.spill_offsets.empty() && by_position_.size() < most_kept) by_position_.resize(most_kept);
  } else if (part_.layout != Layout::kReplicated) {
    const std::uint64_t probed = std::min<std::uint64_t>(parameters.nprobe, part_.navigation.clusters());
    const std::uint64_t own = std::min<std::uint64_t>(part_.count, probed * most_own_reads_);
    const std::uint64_t listed = own + std::min(part_.addresses.count, probed * most_addresses_);
    if (listed_.size() < 2 * listed) listed_.resize(2 * listed);
    members = std::max(members, std::min(total_members_, probed * most_members_));
    if (filter != nullptr && probed == part_.navigation.clusters()) {
      members = std::max<std::uint64_t>(members, filter->matching());
    }
    if (filter != nullptr && admitted_.size() <= members) admitted_.resize(members + 1);
  }
  if (pieces_.size() <= members) pieces_.resize(members + 1);
}

ErrorCode ClusterQuery::start(const std::byte* query, std::int64_t exclude, const ClusterSearchParameters& parameters,
                              HelperThread* helper, const engine::RowFilter* filter) noexcept {
  parameters_ = parameters;
  filter_ = filter;
  matched_ = 0;
  most_gap_ = parameters.coalesce_bytes.value_or(reads_.knee_bytes) / reads_.record.bytes();
  excluded_ = exclude < 0 ? kNobody : static_cast<std::uint32_t>(exclude);
  results_.clear(parameters.k);
  piece_count_ = next_ = next_record_ = 0;
  damaged_copies_ = 0;
  exact_distance_.start(query);
  const ClusterNavigation& navigation = part_.navigation;
  const bool has_postings = part_.layout == Layout::kGrouped || part_.layout == Layout::kDecoupled;
  if (filter != nullptr && has_postings && parameters.nprobe >= navigation.clusters()) {
    list_admitted();
    return ErrorCode::kOk;
  }
  navigation.code().make_query(exact_distance_.widened(), centroid_state());
  const double care = part_.layout == Layout::kCoded ? 1 : kCareForReads;
  const auto find_groups = [&]() noexcept {
    cost_.code_distances += navigation.nearest_groups(centroid_state(), parameters.nprobe, care, groups_.hits);
  };
  const auto prepare_scan = [&]() noexcept { part_.code->make_query(exact_distance_.widened(), code_state()); };
  if (helper != nullptr) {
    helper->run_both(find_groups, prepare_scan);
  } else {
    find_groups();
  }
  cost_.code_distances += navigation.nearest_clusters(centroid_state(), parameters.nprobe, groups_.hits, clusters_.hits,
                                                      {.thread = helper, .hits = &helped_.hits});
  if (part_.layout == Layout::kReplicated) return ErrorCode::kOk;
  if (part_.layout != Layout::kCoded) return list_members();
  if (helper == nullptr) prepare_scan();
  if (filter != nullptr && parameters.nprobe >= navigation.clusters()) {
    scan_all_admitted();
  } else {
    scan_clusters(helper);
  }
  list_found();
  return ErrorCode::kOk;
}

// Beyond it a cluster is hardly worth a look. A query that has found what is near soon does not need all clusters that
// were asked for; more are wanted when more are asked for, so that any recall can be had.
float ClusterQuery::farthest_wanted(float bound, float farthest) const noexcept {
  if (bound >= farthest) return kInfinity;
  const float by_share = part_.metric == Metric::kIp ? 0 : parameters_.prune * std::fabs(bound);  // ip has no zero
  return bound + std::max(by_share, (farthest - bound) / 2);
}

std::uint32_t ClusterQuery::order_clusters() noexcept {
  const codes::ScanHits& clusters = clusters_.hits;
  codes::ScanHits& near = groups_.hits;  // scratch of the navigation
  near.count = clusters.count;
  std::copy_n(clusters.distances, clusters.count, near.distances);
  std::copy_n(clusters.rows, clusters.count, near.rows);
  codes::keep_nearest(near, std::min(kFirstClusters, clusters.count), kFirstClusters + kFirstClusters / 2);
  const std::uint32_t nearest = near.count;
  const float near_bound = nearest < clusters.count ? near.bound : kInfinity;
  for (std::uint32_t i = 0; i < clusters.count; ++i) {
    near.distances[near.count] = clusters.distances[i];
    near.rows[near.count] = clusters.rows[i];
    near.count += clusters.distances[i] > near_bound ? 1U : 0U;
  }
  if (near.count != clusters.count) {  // many equal distances, of which keep_nearest dropped some
    near.count = clusters.count;
    std::copy_n(clusters.distances, near.count, near.distances);
    std::copy_n(clusters.rows, near.count, near.rows);
  }
  for (std::uint32_t i = 0; i < near.count; ++i) __builtin_prefetch(&part_.cluster_offsets[near.rows[i]]);
  return nearest;
}

std::uint32_t ClusterQuery::scan_some(std::uint32_t first, std::uint32_t end, std::uint32_t step, float farthest,
                                      codes::ScanHits& found) noexcept {
  const codes::ScanHits& clusters = groups_.hits;
  const std::uint32_t keep = kept();
  std::uint32_t scanned = 0;
  BlockScan scan(*part_.code, code_state(), part_.code_blocks, found, keep, kHeldPerKept * keep);
  for (std::uint32_t i = first; i < end; i += step) {
    if (clusters.distances[i] > farthest_wanted(found.bound, farthest)) continue;
    const std::uint32_t from = part_.cluster_offsets[clusters.rows[i]];
    const std::uint32_t to = part_.cluster_offsets[clusters.rows[i] + 1];
    if (filter_ != nullptr) {
      scanned += scan_admitted(scan, clusters.rows[i], clusters.distances[i]);
      continue;
    }
    scan.add(from, to, clusters.distances[i]);
    scanned += to - from;
    if (part_.spill_offsets.empty()) continue;
    const std::uint32_t spilled = part_.spill_offsets[clusters.rows[i]];
    const std::uint32_t spill_end = part_.spill_offsets[clusters.rows[i] + 1];
    scan.add(part_.first_spilled_row() + spilled, part_.first_spilled_row() + spill_end, clusters.distances[i]);
    scanned += spill_end - spilled;
  }
  scan.finish();
  return scanned;
}

std::uint32_t ClusterQuery::scan_admitted(BlockScan& scan, std::uint32_t cluster, float distance) const noexcept {
  std::uint32_t rows = scan.add(part_.cluster_offsets[cluster], part_.cluster_offsets[cluster + 1], distance,
                                [&](std::uint32_t block) { return filter_->sixteen(block * codes::kBlockRows); });
  if (part_.spill_offsets.empty()) return rows;
  const std::uint32_t first_spilled = part_.first_spilled_row();
  const std::uint32_t first = part_.spill_offsets[cluster];
  const std::uint32_t end = part_.spill_offsets[cluster + 1];
  const auto admitted_spilled = [&](std::uint32_t block) {
    const std::uint32_t base = block * codes::kBlockRows - first_spilled;
    std::uint32_t mask = 0;
    for (std::uint32_t i = std::max(first, base); i < std::min(end, base + codes::kBlockRows); ++i) {
      mask |= static_cast<std::uint32_t>(filter_->admits(static_cast<std::uint32_t>(part_.spill_positions[i])))
              << (i - base);
    }
    return mask;
  };
  rows += scan.add(first_spilled + first, first_spilled + end, distance, admitted_spilled);
  return rows;
}

// The nearest clusters first: after them the bound lets little through, and decides which of the others are looked at
// at all.
void ClusterQuery::scan_clusters(HelperThread* helper) noexcept {
  const std::uint32_t before = cost_.code_distances;
  const std::uint32_t nearest = order_clusters();
  const codes::ScanHits& clusters = groups_.hits;
  const bool prunes = parameters_.prune > 0 && parameters_.nprobe < part_.navigation.clusters();
  const float farthest =
      prunes ? *std::max_element(clusters.distances, clusters.distances + clusters.count) : -kInfinity;
  codes::ScanHits& found = candidates_.hits;
  found.count = 0;
  found.bound = kInfinity;
  const std::uint32_t keep = kept();
  const auto scan = [&](std::uint32_t first, std::uint32_t end) noexcept {
    if (helper == nullptr) {
      cost_.code_distances += scan_some(first, end, 1, farthest, found);
      return;
    }
    std::uint32_t scanned = 0;
    std::uint32_t scanned_there = 0;
    helped_.hits.count = 0;
    helped_.hits.bound = found.bound;
    const auto scan_half = [&](std::uint32_t from, codes::ScanHits& hits) noexcept {
      const std::uint32_t looked_at = scan_some(from, end, 2, farthest, hits);
      codes::keep_nearest(hits, keep, keep + keep / 4);
      return looked_at;
    };
    helper->run_both([&]() noexcept { scanned = scan_half(first, found); },
                     [&]() noexcept { scanned_there = scan_half(first + 1, helped_.hits); });
    cost_.code_distances += scanned + scanned_there;
    codes::append(found, helped_.hits);
  };
  scan(0, nearest);
  codes::keep_nearest(found, keep, keep + keep / 4);
  scan(nearest, clusters.count);
  codes::keep_nearest(found, keep, keep);
  if (filter_ != nullptr) {
    const bool left_out = prunes && farthest_wanted(found.bound, farthest) < farthest;  // what is too far to matter
    matched_ = left_out ? filter_->matching() : cost_.code_distances - before;
  }
  if (!part_.spill_offsets.empty()) drop_duplicates(found);
}

// Every position once, by the code in its own cluster. Blocks without a match are not looked at.
void ClusterQuery::scan_all_admitted() noexcept {
  const codes::ScanHits& clusters = clusters_.hits;
  float* const distances = groups_.hits.distances;  // scratch of the navigation: by cluster
  for (std::uint32_t i = 0; i < clusters.count; ++i) distances[clusters.rows[i]] = clusters.distances[i];
  codes::ScanHits& found = candidates_.hits;
  found.count = 0;
  found.bound = kInfinity;
  const std::uint32_t keep = wanted();
  BlockScan scan(*part_.code, code_state(), part_.code_blocks, found, keep, kHeldPerKept * keep);
  std::uint32_t cluster = 0;
  for (std::uint32_t row = filter_->next(0, part_.count, true); row < part_.count;) {
    while (part_.cluster_offsets[cluster + 1] <= row) ++cluster;
    const std::uint32_t block = row / codes::kBlockRows;
    const std::uint32_t end = std::min(part_.cluster_offsets[cluster + 1], (block + 1) * codes::kBlockRows);
    const std::uint32_t part = (~0U << (row % codes::kBlockRows)) & (~0U >> (31 - (end - 1) % codes::kBlockRows));
    scan.add({.block = block,
              .rows = filter_->sixteen(block * codes::kBlockRows) & part,
              .origin_distance = distances[cluster]});
    row = filter_->next(end, part_.count, true);
  }
  scan.finish();
  codes::keep_nearest(found, keep, keep);
  matched_ = filter_->matching();
  cost_.code_distances += matched_;
}

void ClusterQuery::list_found() noexcept {
  const codes::ScanHits& found = candidates_.hits;
  // Hits of one cluster follow each other, ascending: that is enough to read neighbours together.
  for (std::uint32_t i = 0; i < found.count && piece_count_ < parameters_.rerank; ++i) {
    const std::uint32_t position = found.rows[i];
    part_.ids.prefetch(position);  // many of them become results
    pieces_[piece_count_] = {position, position + 1};
    piece_count_ += position != excluded_ ? 1U : 0U;
  }
}

// When a vector has two estimates, the nearer one stays. Positions come out ascending.
void ClusterQuery::drop_duplicates(codes::ScanHits& found) noexcept {
  const std::uint32_t first_spilled = part_.first_spilled_row();
  for (std::uint32_t i = 0; i < found.count; ++i) {
    const std::uint32_t row = found.rows[i];
    const std::uint64_t position = row < first_spilled ? row : part_.spill_positions[row - first_spilled];
    by_position_[i] = {static_cast<std::uint32_t>(position), found.distances[i]};
  }
  std::sort(by_position_.begin(), by_position_.begin() + found.count, [](const Estimate& a, const Estimate& b) {
    return a.position != b.position ? a.position < b.position : a.distance < b.distance;
  });
  std::uint32_t count = 0;
  for (std::uint32_t i = 0; i < found.count; ++i) {
    if (count > 0 && found.rows[count - 1] == by_position_[i].position) continue;
    found.rows[count] = by_position_[i].position;
    found.distances[count++] = by_position_[i].distance;
  }
  found.count = count;
  codes::keep_nearest(found, wanted(), wanted());
}

ErrorCode ClusterQuery::list_members() noexcept {
  const std::uint32_t count = clusters_.hits.count;
  std::uint32_t* const places = clusters_.hits.rows;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (!part_.cluster_places.empty()) places[i] = part_.cluster_places[places[i]];
    __builtin_prefetch(&part_.cluster_offsets[places[i]]);
    __builtin_prefetch(&part_.posting_offsets[places[i]]);
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    part_.addresses.prefetch(part_.posting_offsets[places[i]]);
    part_.addresses.prefetch(part_.posting_offsets[places[i] + 1]);
  }
  PieceSorter sorter(listed_.data(), listed_.data() + listed_.size() / 2,
                     std::max<unsigned>(part_.addresses.width, std::bit_width(part_.count)));
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t own_end = part_.cluster_offsets[places[i] + 1];
    for (std::uint32_t own = part_.cluster_offsets[places[i]]; own < own_end;) {
      const std::uint32_t end = own + std::min(own_end - own, reads_.most_records);
      sorter.add({.first = own, .end = end});
      own = end;
    }
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t end = part_.posting_offsets[places[i] + 1];
    for (std::uint64_t a = part_.posting_offsets[places[i]]; a < end; ++a) {
      const auto address = static_cast<std::uint32_t>(part_.addresses[a]);
      sorter.add({.first = address, .end = address + 1});
    }
  }
  const std::span<const Piece> sorted = sorter.sorted();
  if (!sorted.empty() && sorted.back().first >= part_.count) return ErrorCode::kDataLoss;
  join(sorted);
  if (filter_ != nullptr) keep_admitted();
  return ErrorCode::kOk;
}

void ClusterQuery::put_admitted(std::uint32_t first, std::uint32_t end) noexcept {
  for (first = filter_->next(first, end, true); first < end; first = filter_->next(first, end, true)) {
    const std::uint32_t most = first + std::min(end - first, reads_.most_records);
    const std::uint32_t run_end = filter_->next(first, most, false);
    admitted_[piece_count_++] = {first, run_end};
    matched_ += run_end - first;
    first = run_end;
  }
}

void ClusterQuery::keep_admitted() noexcept {
  const std::span<const Piece> all(pieces_.data(), piece_count_);
  piece_count_ = 0;
  for (const Piece& piece : all) put_admitted(piece.first, piece.end);
  std::swap(pieces_, admitted_);
}

void ClusterQuery::list_admitted() noexcept {
  put_admitted(0, part_.count);
  std::swap(pieces_, admitted_);
}

// Own ranges are apart, addresses are single and come after an own range that begins with them: so what begins within
// a piece lies within it. Nobody can predict which positions touch, so there is no branch for that.
void ClusterQuery::join(std::span<const Piece> sorted) noexcept {
  const std::int64_t most_records = reads_.most_records;
  Piece* const pieces = pieces_.data();
  std::uint32_t count = 0;
  std::int64_t last_end = -1;
  std::int64_t farthest_end = -1;  // of the last piece, were it as long as a read
  for (const Piece& next : sorted) {
    const std::int64_t slack = (last_end - next.first) | (farthest_end - next.end);  // negative: a piece begins
    pieces[count].first = next.first;                                                // for the last time, if it does
    count += is_negative(slack);
    const std::int64_t farthest = next.first + most_records;
    farthest_end = slack < 0 ? farthest : farthest_end;
    last_end = std::max<std::int64_t>(last_end, next.end);
    pieces[count - 1].end = static_cast<std::uint32_t>(last_end);
  }
  piece_count_ = count;
}

void ClusterQuery::put_read(std::uint32_t read, std::uint64_t offset, std::uint32_t records) noexcept {
  constexpr std::uint32_t kMostReads = rdma::ReadBatch::kMaxReads;
  batches_[read / kMostReads].reads[read % kMostReads] = {.offset = offset, .length = records * reads_.record.bytes()};
}

bool ClusterQuery::choose() noexcept {
  const std::uint32_t reads = part_.layout == Layout::kReplicated ? choose_postings() : choose_pieces();
  first_batch_ = batch_count_ = first_read_ = absorbed_ = 0;
  for (std::uint32_t left = reads; left > 0; ++batch_count_) {
    rdma::ReadBatch& batch = batches_[batch_count_];
    batch.attempt = 0;
    batch.count = std::min(left, rdma::ReadBatch::kMaxReads);
    left -= batch.count;
    for (std::uint32_t i = 0; i < batch.count; ++i) cost_.bytes += batch.reads[i].length;
  }
  cost_.reads += reads;
  cost_.rounds += reads > 0 ? 1U : 0U;
  return reads > 0;
}

// As unpredictable as which positions touch is whether a gap is short enough to be read through.
std::uint32_t ClusterQuery::choose_pieces() noexcept {
  const std::uint64_t record_bytes = reads_.record.bytes();
  const std::int64_t most_records = reads_.most_records;
  const std::int64_t most_gap = most_gap_;
  const std::uint32_t most_reads = reads_.most_reads();
  const Piece* const pieces = pieces_.data();
  std::uint32_t reads = 0;
  std::int64_t first = 0;
  std::int64_t end = kNowhere;
  for (; next_ < piece_count_; ++next_) {
    const Piece next = pieces[next_];
    const std::int64_t gap = next.first - end;
    const std::int64_t slack = gap | (most_gap - gap) | (first + most_records - next.end);  // negative: a read begins
    first_piece_[reads] = next_;
    reads += is_negative(slack);
    if (reads > most_reads) return most_reads;
    first = slack < 0 ? next.first : first;
    end = next.end;
    put_read(reads - 1, static_cast<std::uint64_t>(first) * record_bytes, static_cast<std::uint32_t>(end - first));
  }
  first_piece_[reads] = next_;
  return reads;
}

std::uint32_t ClusterQuery::choose_postings() noexcept {
  const std::uint64_t record_bytes = reads_.record.bytes();
  const std::uint32_t most_reads = reads_.most_reads();
  std::uint32_t reads = 0;
  while (next_ < clusters_.hits.count && reads < most_reads) {
    const std::uint32_t cluster = clusters_.hits.rows[next_];
    const std::uint32_t records = std::min(part_.posting_counts[cluster] - next_record_, reads_.most_records);
    if (records == 0) {
      ++next_;
      next_record_ = 0;
      continue;
    }
    pieces_[reads] = {0, records};
    first_piece_[reads] = reads;
    put_read(reads++, part_.posting_offsets[cluster] + next_record_ * record_bytes, records);
    next_record_ += records;
  }
  first_piece_[reads] = reads;
  return reads;
}

// Records are brought into the caches some way ahead of their distances: the lines of a long read come by themselves,
// and short reads between long ones have the time that those take.
ErrorCode ClusterQuery::absorb() noexcept {
  const bool replicated = part_.layout == Layout::kReplicated;
  const std::uint32_t record_bytes = reads_.record.bytes();
  Ahead ahead;
  std::uint32_t begun = 0;
  std::uint32_t done = 0;
  std::uint32_t read = first_read_;
  for (const rdma::ReadBatch& batch : batches()) {
    for (std::uint32_t i = 0; i < batch.count; ++i, ++read) {
      const std::uint32_t from = pieces_[first_piece_[read]].first;
      for (std::uint32_t p = first_piece_[read]; p < first_piece_[read + 1]; ++p) {
        const Piece piece = pieces_[p];
        const std::byte* record = batch.views[i] + std::size_t{piece.first - from} * record_bytes;
        for (std::uint32_t position = piece.first; position < piece.end; ++position, record += record_bytes) {
          for (std::uint32_t at = 0; at < record_bytes; at += sizeof(CacheLine)) __builtin_prefetch(record + at);
          ahead.records[begun % Ahead::kRoom] = record;
          ahead.places[begun % Ahead::kRoom] =
              replicated
                  ? ClusterRecord::place_at(batch.reads[i].offset + static_cast<std::size_t>(record - batch.views[i]))
                  : position;
          if (++begun - done < ahead_) continue;
          const std::uint32_t first = done % Ahead::kRoom;
          const ErrorCode error = absorb_records(ahead.records + first, ahead.places + first, together_);
          if (error != ErrorCode::kOk) return error;
          done += together_;
        }
        __builtin_prefetch(record - 1);
      }
    }
  }
  while (done < begun) {
    const std::uint32_t first = done % Ahead::kRoom;
    const std::uint32_t count = std::min(together_, begun - done);
    const ErrorCode error = absorb_records(ahead.records + first, ahead.places + first, count);
    if (error != ErrorCode::kOk) return error;
    done += count;
  }
  damaged_copies_ = 0;
  return ErrorCode::kOk;
}

ErrorCode ClusterQuery::absorb_records(const std::byte* const* records, const std::uint32_t* places,
                                       std::uint32_t count) noexcept {
  std::uint32_t intact = count;
  if (reads_.verify) {
    for (intact = 0; intact < count && reads_.record.intact(places[intact], records[intact]);) ++intact;
  }
  float distances[kMostTogether];
  exact_distance_.of_rows(records, intact, distances);
  const float kth = results_.kth();
  bool any = false;
  for (std::uint32_t i = 0; i < intact; ++i) any |= distances[i] <= kth;
  if (any) {
    if (const ErrorCode error = add_results(records, places, distances, intact); error != ErrorCode::kOk) return error;
  }
  if (filter_ != nullptr && part_.layout == Layout::kReplicated) {
    for (std::uint32_t i = 0; i < intact; ++i) {
      const std::uint32_t position = reads_.record.position(records[i]);
      matched_ += position < part_.count && filter_->admits(position) ? 1U : 0U;
    }
  }
  absorbed_ += intact;
  if (intact == count) [[likely]]
    return ErrorCode::kOk;
  damaged_copies_ = absorbed_ == 0 ? damaged_copies_ + 1 : 1;  // what is read again is first in its round
  return ErrorCode::kDataLoss;
}

ErrorCode ClusterQuery::add_results(const std::byte* const* records, const std::uint32_t* places,
                                    const float* distances, std::uint32_t count) noexcept {
  const bool replicated = part_.layout == Layout::kReplicated;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (distances[i] > results_.kth()) continue;  // most are, and their labels are not in the caches
    const std::uint32_t position = replicated ? reads_.record.position(records[i]) : places[i];
    if (position >= part_.count) {  // with a right check, or on a verified tier: other copies are no better
      damaged_copies_ = 0;
      return ErrorCode::kDataLoss;
    }
    if (position == excluded_ || (filter_ != nullptr && !filter_->admits(position))) continue;
    const auto label = static_cast<std::int64_t>(part_.ids[position]);
    if (replicated) {
      results_.add_once(distances[i], label);
    } else {
      results_.add(distances[i], label);
    }
  }
  return ErrorCode::kOk;
}

bool ClusterQuery::reread_from_next_replica(std::uint32_t replicas) noexcept {
  if (damaged_copies_ == 0 || damaged_copies_ >= replicas) return false;
  // Finds the record where absorb() stopped.
  std::uint32_t piece = first_piece_[first_read_];
  std::uint32_t records = absorbed_;
  while (records >= pieces_[piece].end - pieces_[piece].first) {
    records -= pieces_[piece].end - pieces_[piece].first;
    ++piece;
  }
  rdma::ReadBatch* batch = &batches_[first_batch_];
  std::uint32_t in_batch = 0;
  while (first_piece_[first_read_ + 1] <= piece) {
    ++first_read_;
    if (++in_batch == batch->count) {
      ++batch;
      in_batch = 0;
    }
  }
  first_batch_ = static_cast<std::uint32_t>(batch - batches_.data());
  // Cuts off what lies before it.
  rdma::Read& read = batch->reads[in_batch];
  const std::uint32_t cut =
      (pieces_[piece].first + records - pieces_[first_piece_[first_read_]].first) * reads_.record.bytes();
  read.offset += cut;
  read.length -= cut;
  pieces_[piece].first += records;
  first_piece_[first_read_] = piece;
  std::copy(batch->reads + in_batch, batch->reads + batch->count, batch->reads);
  batch->count -= in_batch;
  absorbed_ = 0;
  for (rdma::ReadBatch& again : batches()) {
    ++again.attempt;
    for (std::uint32_t i = 0; i < again.count; ++i) cost_.bytes += again.reads[i].length;
    cost_.reads += again.count;
    cost_.rereads += again.count;
  }
  ++cost_.rounds;
  return true;
}

}  // namespace tiervec::cluster_index
