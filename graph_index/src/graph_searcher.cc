#include <tiervec/graph_index/graph_searcher.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <random>
#include <string>

#include "traversal.h"

namespace tiervec::graph_index {
namespace {

// Parameters of the searches that find the hot records.
constexpr std::uint64_t kFewestSampled = 1000;
constexpr std::uint64_t kMostSampled = 20'000;
constexpr std::uint32_t kSampleK = 10;
constexpr std::uint32_t kSampleList = 32;

// A walk expands about as many vertices as its list holds; so many codes of admitted vertices can be looked at instead
// of one of these. A read costs more than what the processor does for it.
constexpr double kCodesPerExpansion = 100;

}  // namespace

/// One worker thread's queue, scheduler and traversals; kept between searches.
struct GraphSearcher::Context {
  Context(GraphSearcher& searcher, std::uint32_t in_flight)
      : queue(searcher.tier_->open_queue(
            {.max_reads = in_flight * SearchParameters::kWidestBeam,
             .max_read_bytes = searcher.part_.layout.record_bytes(255) +
                               RecordLayout::kOverread})),  // unpacking looks behind a record
        worker(*queue, in_flight),
        replicas(searcher.tier_->replicas()) {
    for (std::uint32_t i = 0; i < in_flight; ++i) {
      traversals.push_back(
          std::make_unique<Traversal>(searcher.part_, searcher.locator_, searcher.hot_, searcher.verify_records_));
      idle.push_back(traversals.back().get());
    }
  }

  std::unique_ptr<rdma::TierQueue> queue;
  engine::Worker worker;
  std::uint32_t replicas;
  std::vector<std::unique_ptr<Traversal>> traversals;
  std::vector<Traversal*> idle;
};

namespace {

void count_expansions(const SearchRequest& request, const Traversal& traversal) noexcept {
  if (request.expansions != nullptr) [[unlikely]] {
    for (const std::uint32_t vertex : traversal.round()) {
      request.expansions[vertex].fetch_add(1, std::memory_order_relaxed);
    }
  }
}

template <class Context>
engine::Task<void> run_query(Context& context, const SearchRequest& request, engine::SearchState& state,
                             std::uint32_t index, std::size_t query_bytes, double us_per_tick, bool all_rows) {
  const Ticks started = TickClock::now();
  Traversal& traversal = *context.idle.back();
  const SearchParameters& parameters = request.parameters;
  traversal.reserve(parameters);  // may throw, so that it still is idle
  context.idle.pop_back();
  traversal.start(request.queries + index * query_bytes, parameters, request.filter);
  ErrorCode error = ErrorCode::kOk;
  std::uint32_t rescans = 0;
  for (bool by_rows = all_rows;; by_rows = true, ++rescans) {
    if (by_rows) {
      traversal.begin_rows();
      while (traversal.score_admitted()) co_await context.worker.yield();
    } else {
      traversal.begin_walk();
    }
    while (traversal.choose()) {
      const bool reads = traversal.batch().count > 0;  // else every record of the round is hot
      if (reads) {
        error = co_await context.worker.read(traversal.batch());
      }
      if (error == ErrorCode::kOk) {
        count_expansions(request, traversal);
        error = traversal.absorb();
        if (reads) {
          context.worker.release(traversal.batch());
        }
      }
      while (error == ErrorCode::kDataLoss && traversal.reread_from_next_replica(context.replicas)) {
        error = co_await context.worker.read(traversal.batch());
        if (error == ErrorCode::kOk) {
          error = traversal.absorb();
          context.worker.release(traversal.batch());
        }
      }
      if (error != ErrorCode::kOk) {
        break;
      }
      co_await context.worker.yield();
      traversal.score();
    }
    if (error != ErrorCode::kOk || by_rows || request.filter == nullptr || !traversal.is_short()) break;
  }
  if (error != ErrorCode::kOk) {
    state.fail(error);
  }
  traversal.finish(request.ids + std::size_t{index} * parameters.k,
                   request.distances + std::size_t{index} * parameters.k);
  request.costs[index] = traversal.cost();
  request.costs[index].rescans = rescans;
  request.costs[index].latency_us = static_cast<float>(static_cast<double>(TickClock::now() - started) * us_per_tick);
  context.idle.push_back(&traversal);
}

}  // namespace

namespace {

RecordLayout checked(const RecordLayout& layout, std::uint32_t count) {
  layout.check(count);
  return layout;
}

}  // namespace

GraphSearcher::GraphSearcher(std::shared_ptr<rdma::Tier> tier, GraphFastPart part)
    : tier_(std::move(tier)),
      part_(std::move(part)),
      locator_(checked(part_.layout, part_.count), part_.locator, part_.count, tier_->size_bytes()),
      verify_records_(!tier_->verified_at_open()),
      engine_(tier_) {
  check_navigation_sample(part_.navigation, part_.count);
  if (part_.code->dim() != part_.layout.dim) {
    throw Error(ErrorCode::kDataLoss, "the code has dimension " + std::to_string(part_.code->dim()) + ", the records " +
                                          std::to_string(part_.layout.dim));
  }
}

GraphSearcher::~GraphSearcher() = default;

std::uint64_t GraphSearcher::fast_bytes() const noexcept {
  return std::uint64_t{part_.count} * part_.code->row_bytes() + part_.code->parameter_bytes() +
         part_.locator.size() * sizeof(LocatorGroup) + part_.navigation.bytes() + hot_.bytes();
}

// What a walk expands against what the codes of all admitted vertices cost.
engine::FilterPlan GraphSearcher::plan(const engine::RowFilter& filter,
                                       const SearchParameters& parameters) const noexcept {
  if (filter.matching() == 0) return engine::FilterPlan::kEmpty;
  const double expanded = parameters.search_list / filter.share();
  const bool by_rows = filter.matching() <= std::max(parameters.k, parameters.search_list) ||
                       filter.matching() < kCodesPerExpansion * expanded;
  return by_rows ? engine::FilterPlan::kRows : engine::FilterPlan::kSearch;
}

struct GraphSearcher::Start {
  SearchRequest request;
  std::size_t query_bytes = 0;
  double us_per_tick = 0;
  bool all_rows = false;

  engine::Task<void> operator()(Context& context, engine::SearchState& state, std::uint32_t index) const {
    return run_query(context, request, state, index, query_bytes, us_per_tick, all_rows);
  }
};

bool GraphSearcher::prepare(const SearchRequest& request, engine::SearchCall& call, Start& start) const {
  start.request = request;
  SearchParameters& parameters = start.request.parameters;
  if (!parameters.pipeline) parameters.beam_width = 1;
  if (request.filter != nullptr) {
    engine::check_filter(*request.filter, part_.count);
    const engine::FilterPlan plan = this->plan(*request.filter, request.parameters);
    if (plan == engine::FilterPlan::kEmpty) return false;
    start.all_rows = plan == engine::FilterPlan::kRows;
    if (!start.all_rows) {
      parameters.search_list = static_cast<std::uint32_t>(
          std::min<double>(part_.count, std::ceil(request.parameters.search_list / request.filter->share())));
    }
  }
  start.query_bytes = part_.layout.dim * element_bytes(query_dtype());
  start.us_per_tick = 1e-3 / TickClock::ticks_per_ns();
  const rdma::DeviceProfile profile = tier_->profile();
  const std::uint32_t room = queries_in_flight(profile);
  call = {.count = request.count,
          .threads = request.threads,
          .in_flight = std::min(room, queries_in_flight(profile, request.threads, parameters.beam_width)),
          .room = room,
          .one_by_one = !parameters.pipeline,
          .cancel = request.cancel,
          .deadline = request.deadline};
  return true;
}

engine::WorkerTime GraphSearcher::search(const SearchRequest& request) {
  engine::SearchCall call;
  Start start;
  if (!prepare(request, call, start)) return engine::answer_nothing(request);
  return engine_.run(call, [this](std::uint32_t queries) { return std::make_unique<Context>(*this, queries); }, start);
}

std::unique_ptr<engine::PendingSearch> GraphSearcher::submit(const SearchRequest& request,
                                                             std::shared_ptr<engine::SearchListener> listener,
                                                             std::uint64_t ticket) {
  engine::SearchCall call;
  Start start;
  if (!prepare(request, call, start)) {
    engine::answer_nothing(request);
    return nullptr;
  }
  return engine_.submit(
      call, [this](std::uint32_t queries) { return std::make_unique<Context>(*this, queries); }, start,
      std::move(listener), ticket);
}

std::uint32_t GraphSearcher::fill_hot_set(std::uint64_t budget_bytes, unsigned threads,
                                          const engine::CancelToken* cancel) {
  const std::vector<std::uint32_t> vertices = most_expanded(budget_bytes, threads, cancel);
  HotSet hot(locator_, vertices);
  std::vector<std::byte*> places;
  places.reserve(vertices.size());
  for (const std::uint32_t vertex : vertices) places.push_back(hot.find(vertex));
  read_records(vertices, places, cancel);
  hot_ = std::move(hot);
  return static_cast<std::uint32_t>(vertices.size());
}

// The vectors of random records stand for queries: they are at hand on every tier and are nobody's test queries.
std::vector<std::uint32_t> GraphSearcher::most_expanded(std::uint64_t budget_bytes, unsigned threads,
                                                        const engine::CancelToken* cancel) {
  const std::uint64_t records = budget_bytes / HotSet::cost_bytes(part_.layout.record_bytes(0));
  const auto sampled = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(part_.count, std::clamp<std::uint64_t>(records / 4, kFewestSampled, kMostSampled)));
  std::mt19937_64 random(part_.count);
  std::vector<std::uint32_t> sample(sampled);
  for (auto& vertex : sample) vertex = static_cast<std::uint32_t>(random() % part_.count);
  const std::size_t record_bytes = part_.layout.record_bytes(RecordLayout::kMaxDegree) + RecordLayout::kOverread;
  std::vector<std::byte> copies(sampled * record_bytes);
  std::vector<std::byte*> places(sampled);
  for (std::uint32_t i = 0; i < sampled; ++i) places[i] = copies.data() + i * record_bytes;
  read_records(sample, places, cancel);

  const Dtype asked = query_dtype();
  const std::size_t query_bytes = part_.layout.dim * element_bytes(asked);
  std::vector<std::byte> queries(sampled * query_bytes);
  for (std::uint32_t i = 0; i < sampled; ++i) {
    if (asked == part_.layout.dtype) {
      std::copy_n(places[i], query_bytes, queries.data() + i * query_bytes);
    } else {
      widen(part_.layout.dtype, places[i], part_.layout.dim,
            reinterpret_cast<float*>(queries.data() + i * query_bytes));
    }
  }
  std::vector<std::int64_t> ids(std::size_t{sampled} * kSampleK);
  std::vector<float> distances(ids.size());
  std::vector<QueryCost> costs(sampled);
  std::vector<std::atomic<std::uint32_t>> expansions(part_.count);
  SearchRequest request;
  request.queries = queries.data();
  request.count = sampled;
  request.parameters.k = kSampleK;
  request.parameters.search_list = kSampleList;
  request.ids = ids.data();
  request.distances = distances.data();
  request.costs = costs.data();
  request.threads = threads;
  request.cancel = cancel;
  request.expansions = expansions.data();
  search(request);

  std::vector<std::uint32_t> order(part_.count);
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return expansions[a].load(std::memory_order_relaxed) > expansions[b].load(std::memory_order_relaxed);
  });
  std::uint64_t used = 0;
  std::size_t kept = 0;
  for (; kept < order.size() && expansions[order[kept]].load(std::memory_order_relaxed) > 0; ++kept) {
    used += HotSet::cost_bytes(locator_.locate(order[kept]).length);
    if (used > budget_bytes) break;
  }
  order.resize(kept);
  return order;
}

// Control path: one queue, whole batches, waits for each. A batch with a damaged record is read again from the next
// replica, for what is still missing.
void GraphSearcher::read_records(std::span<const std::uint32_t> vertices, std::span<std::byte* const> to,
                                 const engine::CancelToken* cancel) {
  const auto queue = tier_->open_queue(
      {.max_reads = rdma::ReadBatch::kMaxReads, .max_read_bytes = part_.layout.record_bytes(RecordLayout::kMaxDegree)});
  rdma::ReadBatch batch;
  std::array<bool, rdma::ReadBatch::kMaxReads> there;
  const auto read = [&](std::size_t from) {
    batch.count = static_cast<std::uint32_t>(std::min<std::size_t>(rdma::ReadBatch::kMaxReads, vertices.size() - from));
    for (std::uint32_t i = 0; i < batch.count; ++i) batch.reads[i] = locator_.locate(vertices[from + i]);
    queue->submit(batch);
    queue->flush();
    rdma::ReadBatch* done = nullptr;
    while (queue->poll({&done, 1}) == 0) {
      if (cancel != nullptr && cancel->cancelled()) queue->cancel(batch);
      queue->wait();
    }
    if (batch.error != ErrorCode::kOk)
      throw Error(batch.error, engine::describe_search_error(batch.error, tier_->url()));
    for (std::uint32_t i = 0; i < batch.count; ++i) {
      if (there[i] || !part_.layout.intact(vertices[from + i], batch.views[i], batch.reads[i].length)) continue;
      std::copy_n(batch.views[i], batch.reads[i].length, to[from + i]);
      there[i] = true;
    }
    queue->release(batch);
    return std::all_of(there.begin(), there.begin() + batch.count, [](bool is_there) { return is_there; });
  };
  for (std::size_t from = 0; from < vertices.size(); from += rdma::ReadBatch::kMaxReads) {
    batch.attempt = 0;
    there = {};
    while (!read(from)) {
      if (++batch.attempt >= tier_->replicas()) {
        throw Error(ErrorCode::kDataLoss, engine::describe_search_error(ErrorCode::kDataLoss, tier_->url()));
      }
    }
  }
}

}  // namespace tiervec::graph_index
