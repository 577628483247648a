#include "traversal.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tiervec::graph_index {
namespace {

constexpr std::uint32_t kEntryCandidates = 4;  // what a descent of the navigation sample keeps
constexpr std::size_t kMetPerCandidate = 64;   // vertices met per entry of the candidate list, roughly
constexpr std::size_t kMostRowLines = 8;       // prefetched of a row
constexpr std::uint32_t kRowsAtOnce = 64;      // admitted rows whose codes are on their way together
constexpr std::uint32_t kRowsPerTurn = 4096;   // that are scored before other queries have a turn

}  // namespace

Traversal::Traversal(const GraphFastPart& part, const RecordLocator& locator, const HotSet& hot, bool verify_records)
    : part_(part),
      locator_(locator),
      hot_(hot),
      hop_(hop_kernels()),
      verify_records_(verify_records),
      row_bytes_(part.code->row_bytes()),
      exact_distance_(part.layout.dtype, part.metric, part.layout.dim),
      code_state_((part.code->query_bytes() + sizeof(CacheLine) - 1) / sizeof(CacheLine)),
      unpacked_(RecordLayout::kMaxDegree + 16) {}

inline void Traversal::prefetch_row(std::uint32_t vertex) const noexcept {
  const std::uint8_t* row = part_.rows + std::size_t{vertex} * row_bytes_;
  __builtin_prefetch(row, 0, 3);
  if (row_bytes_ > 32) {
    const std::size_t reach = std::min<std::size_t>(row_bytes_ - 1, kMostRowLines * 64);
    for (std::size_t at = 64; at <= reach; at += 64) __builtin_prefetch(row + at, 0, 3);
    __builtin_prefetch(row + reach, 0, 3);
  }
}

void Traversal::reserve(const SearchParameters& parameters) {
  const std::uint32_t capacity = std::max(parameters.search_list, kEntryCandidates);
  if (list_distances_.size() < CandidateList::padded(capacity)) {
    list_distances_.resize(CandidateList::padded(capacity));
    list_entries_.resize(CandidateList::padded(capacity));
    list_.distances = list_distances_.data();
    list_.entries = list_entries_.data();
  }
  met_.reserve(capacity * kMetPerCandidate);
  results_.reserve(parameters.k);
  const std::size_t fresh =
      std::max<std::size_t>(std::size_t{parameters.beam_width} * RecordLayout::kMaxDegree, 2 * kRowsAtOnce) + 16;
  if (fresh_.size() < fresh) {
    fresh_.resize(fresh);
    distances_.resize(fresh);
  }
}

void Traversal::start(const std::byte* query, const SearchParameters& parameters, const engine::RowFilter* filter) {
  parameters_ = parameters;
  filter_ = filter;
  leads_on_ = true;
  cost_ = QueryCost{};
  results_.clear(parameters.k);
  exact_distance_.start(query);
  part_.code->make_query(exact_distance_.widened(), code_state());
  fresh_count_ = 0;
  batch_.attempt = 0;
  damaged_copies_ = 0;
  repeated_rounds_ = 0;
}

void Traversal::begin_walk() noexcept {
  descend_navigation();
  met_.clear();
  // What the descent found becomes the list; entries were positions in the sample.
  const std::uint32_t entries = list_.size;
  for (std::uint32_t i = 0; i < entries; ++i) {
    fresh_[i] = part_.navigation.ids[list_.id(i)];
    distances_[i] = list_.distances[i];
    met_.add(fresh_[i]);
  }
  list_.reset(parameters_.search_list);
  hop_.insert(list_, distances_.data(), fresh_.data(), entries);
  first_open_ = 0;
}

void Traversal::begin_rows() noexcept {
  leads_on_ = false;
  next_admitted_ = 0;
  results_.clear(parameters_.k);
  list_.reset(parameters_.search_list);
  first_open_ = 0;
}

std::uint32_t Traversal::take_admitted(std::uint32_t* vertices) noexcept {
  const std::uint32_t count = filter_->take(next_admitted_, vertices, kRowsAtOnce);
  for (std::uint32_t i = 0; i < count; ++i) prefetch_row(vertices[i]);
  return count;
}

// Codes of the next rows are on their way while those before them are scored.
bool Traversal::score_admitted() noexcept {
  std::uint32_t* rows = fresh_.data();
  std::uint32_t* coming = rows + kRowsAtOnce;
  std::uint32_t scored = 0;
  for (std::uint32_t count = take_admitted(rows); count > 0;) {
    const std::uint32_t next = scored < kRowsPerTurn ? take_admitted(coming) : 0;
    part_.code->distances(code_state(), part_.rows, rows, count, distances_.data());
    hop_.insert(list_, distances_.data(), rows, count);
    scored += count;
    count = next;
    std::swap(rows, coming);
  }
  cost_.code_distances += scored;
  return next_admitted_ < part_.count;
}

void Traversal::descend_navigation() noexcept {
  const NavigationSample& sample = part_.navigation;
  met_.clear();
  list_.reset(kEntryCandidates);
  std::uint32_t vertices[NavigationSample::kDegree + 16];
  std::uint32_t positions[NavigationSample::kDegree + 16];
  float distances[NavigationSample::kDegree + 16];
  const auto score_positions = [&](std::uint32_t count) {
    part_.code->distances(code_state(), part_.rows, vertices, count, distances);
    cost_.code_distances += count;
    return hop_.insert(list_, distances, positions, count);
  };
  positions[0] = 0;
  vertices[0] = sample.ids[0];
  met_.add(0);
  score_positions(1);
  for (std::uint32_t next = 0; next < list_.size;) {
    if (list_.expanded(next)) {
      ++next;
      continue;
    }
    list_.mark_expanded(next);
    const std::uint32_t* neighbors = sample.adjacency.data() + std::size_t{list_.id(next)} * NavigationSample::kDegree;
    std::uint32_t count = 0;
    for (std::uint32_t i = 0; i < NavigationSample::kDegree && neighbors[i] != NavigationSample::kNone; ++i) {
      positions[count] = neighbors[i];
      vertices[count] = sample.ids[neighbors[i]];
      prefetch_row(vertices[count]);
      count += met_.add(neighbors[i]) ? 1U : 0U;
    }
    next = std::min(next + 1, count > 0 ? score_positions(count) : list_.capacity);
  }
}

// Wide rounds pay off once the list holds the neighbourhood of the query; on the way there they read what the next
// round would have shown to be far (PipeANN, OSDI'25). So the width grows with the rounds.
std::uint32_t Traversal::width() const noexcept {
  if (!leads_on_) return parameters_.pipeline ? SearchParameters::kWidestBeam : 1;
  return std::min(parameters_.beam_width, 1 + cost_.rounds - repeated_rounds_ + cost_.hot_records);
}

bool Traversal::choose() noexcept {
  const std::uint32_t most = width();
  std::uint32_t reads = 0;
  std::uint32_t hot = 0;
  std::uint32_t hot_vertices[SearchParameters::kWidestBeam];
  std::uint32_t i = first_open_;
  for (; i < list_.size && reads + hot < most; ++i) {
    if (list_.expanded(i)) continue;
    if (list_.distances[i] > list_.limit) break;
    list_.mark_expanded(i);
    const std::uint32_t vertex = list_.id(i);
    if (!hot_.empty()) {
      hot_records_[hot] = hot_.find(vertex);
      hot_vertices[hot] = vertex;
      if (hot_records_[hot] != nullptr) {
        ++hot;
        continue;
      }
    }
    vertices_[reads] = vertex;
    batch_.reads[reads] = locator_.locate(vertex);
    cost_.bytes += batch_.reads[reads].length;
    ++reads;
  }
  std::copy_n(hot_vertices, hot, vertices_ + reads);
  first_open_ = i;
  if (i < list_.size) locator_.prefetch(list_.id(i));  // likely the next one, if this round finds nothing nearer
  batch_.count = reads;
  fresh_count_ = 0;
  round_size_ = reads + hot;
  cost_.reads += reads;
  cost_.hot_records += hot;
  cost_.rounds += reads > 0 ? 1U : 0U;
  return round_size_ > 0;
}

ErrorCode Traversal::absorb() noexcept {
  for (std::uint32_t i = 0; i < round_size_; ++i) {
    const bool is_read = i < batch_.count;
    const std::byte* record = is_read ? batch_.views[i] : hot_records_[i - batch_.count];
    if (is_read && verify_records_ && !part_.layout.intact(vertices_[i], record, batch_.reads[i].length)) {
      damaged_copies_ = i == 0 ? damaged_copies_ + 1 : 1;  // what is read again is first in its batch
      damaged_ = i;
      return ErrorCode::kDataLoss;
    }
    const std::uint32_t degree = part_.layout.degree(record);
    if (is_read && part_.layout.stored_bytes(degree) != batch_.reads[i].length) {
      return forged();
    }
    if (filter_ == nullptr || filter_->admits(vertices_[i])) {
      results_.add(exact_distance_(record), static_cast<std::int64_t>(part_.layout.label(vertices_[i], record)));
    }
    if (leads_on_ && !note_neighbors(record, degree)) {
      return forged();
    }
  }
  if (damaged_copies_ > 0) [[unlikely]] {
    batch_.attempt = 0;
    damaged_copies_ = 0;
  }
  if (parameters_.stop_margin > 0) {
    const float kth = results_.kth();
    list_.limit = kth + parameters_.stop_margin * std::fabs(kth);
  }
  return ErrorCode::kOk;
}

// A record with a right check, or on a verified tier: other copies are no better.
ErrorCode Traversal::forged() noexcept {
  damaged_copies_ = 0;
  return ErrorCode::kDataLoss;
}

bool Traversal::reread_from_next_replica(std::uint32_t replicas) noexcept {
  if (damaged_copies_ == 0 || damaged_copies_ >= replicas) return false;
  std::copy(vertices_ + damaged_, vertices_ + round_size_, vertices_);
  std::copy(batch_.reads + damaged_, batch_.reads + batch_.count, batch_.reads);
  round_size_ -= damaged_;
  batch_.count -= damaged_;
  ++batch_.attempt;
  for (std::uint32_t i = 0; i < batch_.count; ++i) cost_.bytes += batch_.reads[i].length;
  cost_.reads += batch_.count;
  cost_.rereads += batch_.count;
  ++cost_.rounds;
  ++repeated_rounds_;
  return true;
}

bool Traversal::note_neighbors(const std::byte* record, std::uint32_t degree) noexcept {
  hop_.unpack(record + part_.layout.edges_at(), degree, part_.layout.id_bits, unpacked_.data());
  std::uint32_t largest = 0;
  for (std::uint32_t i = 0; i < degree; ++i) largest = std::max(largest, unpacked_[i]);
  if (largest >= part_.count) {  // an id becomes an address: never past the codes, whatever the record says
    return false;
  }
  std::uint32_t count = fresh_count_;
  for (std::uint32_t i = 0; i < degree; ++i) {
    const std::uint32_t vertex = unpacked_[i];
    fresh_[count] = vertex;
    count += static_cast<std::uint32_t>(met_.add(vertex));
  }
  for (std::uint32_t i = fresh_count_; i < count; ++i) prefetch_row(fresh_[i]);
  fresh_count_ = count;
  return true;
}

void Traversal::score() noexcept {
  if (fresh_count_ == 0) return;
  part_.code->distances(code_state(), part_.rows, fresh_.data(), fresh_count_, distances_.data());
  cost_.code_distances += fresh_count_;
  first_open_ = std::min(first_open_, hop_.insert(list_, distances_.data(), fresh_.data(), fresh_count_));
}

void Traversal::finish(std::int64_t* ids, float* distances) const noexcept {
  results_.copy_to(ids, distances);
}

}  // namespace tiervec::graph_index
