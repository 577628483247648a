#include <tiervec/cluster_index/cluster_searcher.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>

#include <tiervec/cluster_index/code_blocks.h>

#include "cluster_query.h"

namespace tiervec::cluster_index {

Layout parse_layout(std::string_view name) {
  if (name == "coded") return Layout::kCoded;
  if (name == "grouped") return Layout::kGrouped;
  if (name == "decoupled") return Layout::kDecoupled;
  if (name == "replicated") return Layout::kReplicated;
  throw Error(ErrorCode::kInvalidArgument,
              "layout is " + std::string(name) + "; it must be coded, grouped, decoupled or replicated");
}

namespace {

constexpr double kWorkPerQueryUs = 30;  // CPU time of a query, on the fast side
constexpr double kLoadLatencyUs = 1;    // below, the loads of one query cover each other
constexpr std::uint32_t kMostInFlight = 128;
constexpr double kMargin = 0.5;      // of rows that do not match: more clusters than their share asks for
constexpr double kEnough = 1.25;     // times what a search without a filter looks at, matching rows
constexpr std::uint32_t kWiden = 4;  // times as many clusters, where a filter admits too little of the nearest ones
// A cluster costs a filtered scan, besides its codes, as much as so many of them.
constexpr double kCodesPerCluster = 1;
constexpr double kCodesWorthHelp = 2000;                 // fewer are scanned before another thread has heard of it
constexpr std::uint64_t kMostBufferBytes = 256U << 20U;  // of a worker, on tiers that copy what is read

// A query computes for long between few waits. More queries than cover the latency would only drive what they have
// prefetched and read out of the caches. Layouts that read whole clusters move so many bytes that the device needs
// time for them however short its latency is: a second query computes meanwhile.
std::uint32_t clusters_in_flight(const rdma::Tier& tier, const ClusterFastPart& part) noexcept {
  const double latency_us = tier.profile().latency_us;
  if (latency_us < kLoadLatencyUs) return part.layout == Layout::kCoded ? 1 : 2;
  const ClusterReads reads = ClusterReads::of(part, tier);
  const std::uint64_t query_bytes = std::uint64_t{reads.most_reads()} * reads.most_bytes();
  const std::uint64_t most = std::clamp<std::uint64_t>(kMostBufferBytes / query_bytes, 1, kMostInFlight);
  return static_cast<std::uint32_t>(std::min<double>(most, 1 + std::ceil(latency_us / kWorkPerQueryUs)));
}

}  // namespace

/// One worker thread's queue, scheduler and queries; kept between searches.
struct ClusterSearcher::Context {
  Context(rdma::Tier& tier, const ClusterFastPart& part, std::uint32_t in_flight)
      : reads(ClusterReads::of(part, tier)),
        replicas(tier.replicas()),
        queue(tier.open_queue({.max_reads = in_flight * reads.most_reads(), .max_read_bytes = reads.most_bytes()})),
        worker(*queue, in_flight) {
    for (std::uint32_t i = 0; i < in_flight; ++i) {
      queries.push_back(std::make_unique<ClusterQuery>(part, reads));
      idle.push_back(queries.back().get());
    }
  }

  ClusterReads reads;
  std::uint32_t replicas;
  std::unique_ptr<rdma::TierQueue> queue;
  engine::Worker worker;
  std::vector<std::unique_ptr<ClusterQuery>> queries;
  std::vector<ClusterQuery*> idle;
};

namespace {

/// When a filtered query probes more clusters.
struct Widening {
  std::uint32_t clusters = 0;  // all
  std::uint32_t wanted = 0;    // matching rows to look at
  bool known_late = false;     // how many a query has looked at is known after its reads
};

template <class Context>
engine::Task<void> run_query(Context& context, const ClusterSearchRequest& request, engine::SearchState& state,
                             std::uint32_t index, std::size_t query_bytes, double us_per_tick, HelperThread* helper,
                             const Widening& widening) {
  const Ticks started = TickClock::now();
  ClusterSearchParameters parameters = request.parameters;
  ClusterQuery& query = *context.idle.back();
  query.reserve(parameters, helper != nullptr, request.filter);  // may throw
  context.idle.pop_back();
  const auto give_back = [&context](ClusterQuery* done) { context.idle.push_back(done); };
  const std::unique_ptr<ClusterQuery, decltype(give_back)> taken(&query, give_back);
  const std::uint32_t k = parameters.k;
  std::uint32_t rescans = 0;
  ErrorCode error = ErrorCode::kOk;
  query.clear_cost();
  while (true) {
    error = query.start(request.queries + index * query_bytes, request.exclude == nullptr ? -1 : request.exclude[index],
                        parameters, helper, request.filter);
    const bool is_last = request.filter == nullptr || parameters.nprobe >= widening.clusters;
    const bool reads = is_last || widening.known_late || query.matched() >= widening.wanted;
    while (reads && error == ErrorCode::kOk && query.choose()) {
      error = co_await context.worker.read(query.batches());
      if (error == ErrorCode::kOk) {
        error = query.absorb();
        for (rdma::ReadBatch& batch : query.batches()) context.worker.release(batch);
      }
      while (error == ErrorCode::kDataLoss && query.reread_from_next_replica(context.replicas)) {
        error = co_await context.worker.read(query.batches());
        if (error == ErrorCode::kOk) {
          error = query.absorb();
          for (rdma::ReadBatch& batch : query.batches()) context.worker.release(batch);
        }
      }
    }
    if (error != ErrorCode::kOk || is_last || (query.matched() >= widening.wanted && !query.is_short())) break;
    parameters.nprobe = std::min(widening.clusters, parameters.nprobe * kWiden);
    query.reserve(parameters, helper != nullptr, request.filter);
    rescans = 1;
  }
  if (error != ErrorCode::kOk) state.fail(error);
  query.finish(request.ids + std::size_t{index} * k, request.distances + std::size_t{index} * k);
  request.costs[index] = query.cost();
  request.costs[index].rescans = rescans;
  request.costs[index].latency_us = static_cast<float>(static_cast<double>(TickClock::now() - started) * us_per_tick);
}

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorCode::kDataLoss, "the cluster index does not fit together: " + what);
}

template <class T>
void check_offsets(const std::vector<T>& offsets, std::size_t clusters, std::uint64_t end, const char* name) {
  if (offsets.size() != clusters + 1 || !std::is_sorted(offsets.begin(), offsets.end()) || offsets.back() > end) {
    refuse(std::string(name) + " must be " + std::to_string(clusters + 1) + " ascending numbers up to " +
           std::to_string(end));
  }
}

void check_postings(const ClusterFastPart& part, std::uint64_t tier_bytes) {
  const std::size_t clusters = part.navigation.clusters();
  check_offsets(part.posting_offsets, clusters, tier_bytes, "posting_offsets");
  if (part.posting_counts.size() != clusters) refuse("posting_counts must have one entry per cluster");
  for (std::size_t i = 0; i < clusters; ++i) {
    if (part.posting_offsets[i] + std::uint64_t{part.posting_counts[i]} * part.record().bytes() >
        part.posting_offsets[i + 1]) {
      refuse("posting " + std::to_string(i) + " is longer than its part of the region");
    }
  }
}

void check_spill(const ClusterFastPart& part) {
  check_offsets(part.spill_offsets, part.navigation.clusters(), part.count, "spill_offsets");
  if (part.spill_positions.count != part.spill_offsets.back()) refuse("there must be one position per spilled code");
  for (std::uint64_t i = 0; i < part.spill_positions.count; ++i) {
    if (part.spill_positions[i] >= part.count) {
      refuse("spilled code " + std::to_string(i) + " is of position " + std::to_string(part.spill_positions[i]));
    }
  }
}

void check(const ClusterFastPart& part, std::uint64_t tier_bytes) {
  const std::size_t clusters = part.navigation.clusters();
  if (part.count == 0 || part.dim == 0 || part.navigation.code().dim() != part.dim) {
    refuse("there must be vectors, and centroid codes of their dimension");
  }
  if (!PackedIntegers::readable(part.ids.width) || part.ids.count != part.count) {
    refuse("there must be one id per vector");
  }
  if (part.layout == Layout::kReplicated) {
    check_postings(part, tier_bytes);
    return;
  }
  if (std::uint64_t{part.count} * part.record().bytes() > tier_bytes) {
    refuse(std::to_string(part.count) + " records do not fit the region of " + std::to_string(tier_bytes) + " bytes");
  }
  check_offsets(part.cluster_offsets, clusters, part.count, "cluster_offsets");
  if (part.layout == Layout::kCoded) {
    if (part.code == nullptr || part.code_blocks == nullptr || part.code->dim() != part.dim) {
      refuse("layout coded needs codes of the vectors' dimension");
    }
    if (!part.spill_offsets.empty()) check_spill(part);
    return;
  }
  if (part.addresses.width == 0 || part.addresses.width > 32) refuse("addresses must have 1 to 32 bits");
  check_offsets(part.posting_offsets, clusters, part.addresses.count, "posting_offsets");
  if (part.layout == Layout::kGrouped) {
    std::vector<bool> taken(clusters);
    for (const std::uint32_t place : part.cluster_places) {
      if (place < clusters) taken[place] = true;
    }
    if (part.cluster_places.size() != clusters || !std::all_of(taken.begin(), taken.end(), std::identity())) {
      refuse("cluster_places must have each of " + std::to_string(clusters) + " places once");
    }
  }
}

/// A search, while it runs. One at most has no others beside it.
struct Running {
  explicit Running(std::atomic<unsigned>& searches) : all(searches), others(searches.fetch_add(1)) {}
  ~Running() { all.fetch_sub(1); }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  std::atomic<unsigned>& all;
  const unsigned others;
};

/// A call that can use the helper, whether it ends or throws.
class HelpedCall {
 public:
  explicit HelpedCall(HelperThread* helper) noexcept : helper_(helper) {
    if (helper_ != nullptr) helper_->begin_call();
  }
  ~HelpedCall() { (void)end(); }
  HelpedCall(const HelpedCall&) = delete;
  HelpedCall& operator=(const HelpedCall&) = delete;

  /// Returns what the helper took. A call that throws has no receipt for it, and it is none of the next one's.
  HelperThread::Time end() noexcept {
    if (helper_ == nullptr) return {};
    HelperThread& helper = *std::exchange(helper_, nullptr);
    helper.end_call();
    return helper.take_time();
  }

 private:
  HelperThread* helper_;
};

}  // namespace

ClusterSearcher::ClusterSearcher(std::shared_ptr<rdma::Tier> tier, ClusterFastPart part)
    : tier_(std::move(tier)), part_(std::move(part)), engine_(tier_) {
  check(part_, tier_->size_bytes());
}

ClusterSearcher::~ClusterSearcher() = default;

std::uint64_t ClusterSearcher::fast_bytes() const noexcept {
  std::uint64_t bytes = PackedIntegers::bytes(part_.ids.count, part_.ids.width) + part_.navigation.bytes() +
                        (part_.cluster_offsets.size() + part_.cluster_places.size()) * sizeof(std::uint32_t) +
                        part_.posting_offsets.size() * sizeof(std::uint64_t) +
                        part_.posting_counts.size() * sizeof(std::uint32_t);
  if (part_.addresses.bits != nullptr) bytes += PackedIntegers::bytes(part_.addresses.count, part_.addresses.width);
  if (part_.layout == Layout::kCoded) {
    bytes += code_blocks_bytes(*part_.code, part_.count) + part_.code->parameter_bytes();
    if (!part_.spill_offsets.empty()) {
      bytes += code_blocks_bytes(*part_.code, part_.spill_positions.count) +
               part_.spill_offsets.size() * sizeof(std::uint32_t) +
               PackedIntegers::bytes(part_.spill_positions.count, part_.spill_positions.width);
    }
  }
  return bytes;
}

HelperThread* ClusterSearcher::helper_for(const ClusterSearchRequest& request, unsigned others) {
  const double share = static_cast<double>(request.parameters.nprobe) / part_.navigation.clusters();
  const double codes = static_cast<double>(part_.count) * std::min(1.0, share);
  if (!request.parameters.split || part_.layout != Layout::kCoded || request.count != 1 || request.threads < 2 ||
      others > 0 || codes < kCodesWorthHelp) {
    return nullptr;
  }
  std::unique_ptr<HelperThread>& thread = lone_.get().thread;
  if (!thread) {
    try {
      thread = std::make_unique<HelperThread>();
    } catch (const Error&) {
      return nullptr;  // no more threads to be had: the receipt says that one thread worked
    }
  }
  return thread.get();
}

// All matching rows against those of as many clusters as hold what would be looked at without a filter. Of the codes
// some blocks have no matching row, and are skipped; of postings only matching records are read, where it is known
// which.
engine::FilterPlan ClusterSearcher::plan(const engine::RowFilter& filter,
                                         const ClusterSearchParameters& parameters) const noexcept {
  if (filter.matching() == 0) return engine::FilterPlan::kEmpty;
  double all = filter.matching();
  double nearest = usual_rows(parameters.nprobe);
  if (part_.layout == Layout::kCoded) {
    const double blocks = 1 - std::pow(1 - filter.share(), codes::kBlockRows);  // with a matching row, if by chance
    all = blocks * part_.count + kCodesPerCluster * part_.navigation.clusters();
    nearest /= filter.share();
  } else if (part_.layout == Layout::kReplicated) {
    all = part_.count;
    nearest /= filter.share();
  }
  return filter.matching() <= parameters.k || all <= nearest ? engine::FilterPlan::kRows
                                                             : engine::FilterPlan::kClusters;
}

double ClusterSearcher::usual_rows(std::uint32_t nprobe) const noexcept {
  const std::uint32_t clusters = part_.navigation.clusters();
  return static_cast<double>(std::min(nprobe, clusters)) * part_.count / clusters;
}

// Where what matches lies together and away from the query, clusters are ordered less well than near it.
std::uint32_t ClusterSearcher::wanted_rows(const engine::RowFilter& filter,
                                           const ClusterSearchParameters& parameters) const noexcept {
  double wanted = std::max<double>(parameters.k, kEnough * usual_rows(parameters.nprobe));
  if (part_.layout == Layout::kCoded) wanted = std::max<double>(wanted, parameters.rerank);
  if (!part_.spill_offsets.empty()) wanted *= 2;  // a row has two codes
  return static_cast<std::uint32_t>(std::min<double>(filter.matching(), wanted));
}

struct ClusterSearcher::Start {
  ClusterSearchRequest request;
  Widening widening;
  std::size_t query_bytes = 0;
  double us_per_tick = 0;
  HelperThread* helper = nullptr;

  engine::Task<void> operator()(Context& context, engine::SearchState& state, std::uint32_t index) const {
    return run_query(context, request, state, index, query_bytes, us_per_tick, helper, widening);
  }
};

bool ClusterSearcher::prepare(const ClusterSearchRequest& request, engine::SearchCall& call, Start& start) const {
  start.request = request;
  const std::uint32_t clusters = part_.navigation.clusters();
  start.widening = {.clusters = clusters, .known_late = part_.layout == Layout::kReplicated};
  if (request.filter != nullptr) {
    engine::check_filter(*request.filter, part_.count);
    const engine::FilterPlan plan = this->plan(*request.filter, request.parameters);
    if (plan == engine::FilterPlan::kEmpty) return false;
    start.widening.wanted = wanted_rows(*request.filter, request.parameters);
    const double share = request.filter->share();
    const double probes = request.parameters.nprobe / share * (1 + kMargin * (1 - share));
    start.request.parameters.nprobe = plan == engine::FilterPlan::kRows
                                          ? clusters
                                          : static_cast<std::uint32_t>(std::min<double>(clusters, std::ceil(probes)));
  }
  start.query_bytes = part_.dim * element_bytes(query_dtype());
  start.us_per_tick = 1e-3 / TickClock::ticks_per_ns();
  const std::uint32_t in_flight = clusters_in_flight(*tier_, part_);
  call = {.count = request.count,
          .threads = request.threads,
          .in_flight = in_flight,
          .room = in_flight,
          .one_by_one = !request.parameters.pipeline,
          .cancel = request.cancel,
          .deadline = request.deadline};
  return true;
}

engine::WorkerTime ClusterSearcher::search(const ClusterSearchRequest& request) {
  engine::SearchCall call;
  Start start;
  if (!prepare(request, call, start)) return engine::answer_nothing(request);
  const Running running(lone_.get().searches);
  start.helper = helper_for(start.request, running.others);
  HelpedCall helped_call(start.helper);
  call.on_caller = start.helper != nullptr;
  engine::WorkerTime time = engine_.run(
      call, [this](std::uint32_t queries) { return std::make_unique<Context>(*tier_, part_, queries); }, start);
  if (start.helper != nullptr) {
    const HelperThread::Time helped = helped_call.end();
    ++time.threads;
    time.cpu_us += helped.cpu_ns * 1e-3;
    time.waiting_us += helped.waiting_ns * 1e-3;
  }
  return time;
}

std::unique_ptr<engine::PendingSearch> ClusterSearcher::submit(const ClusterSearchRequest& request,
                                                               std::shared_ptr<engine::SearchListener> listener,
                                                               std::uint64_t ticket) {
  engine::SearchCall call;
  Start start;
  if (!prepare(request, call, start)) {
    engine::answer_nothing(request);
    return nullptr;
  }
  return engine_.submit(
      call, [this](std::uint32_t queries) { return std::make_unique<Context>(*tier_, part_, queries); }, start,
      std::move(listener), ticket);
}

}  // namespace tiervec::cluster_index
