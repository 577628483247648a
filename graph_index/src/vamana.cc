#include <tiervec/graph_index/vamana.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <random>
#include <utility>

#include <tiervec/core/output_file.h>
#include <tiervec/graph_index/candidate_list.h>

#include "robust_prune.h"

namespace tiervec::graph_index {
namespace {

constexpr std::size_t kBlock = 64;            // vectors a thread takes at a time
constexpr std::size_t kMostCandidates = 256;  // of a prune; the far ones of a long search path hardly survive it

/// Ids met during one search: open addressing, cleared by undoing what was set.
class MetIds {
 public:
  explicit MetIds(std::size_t expected) {
    std::size_t slots = 1024;
    while (slots < expected * 2) slots *= 2;
    table_.assign(slots, kFree);
  }
  void clear() noexcept {
    for (std::size_t slot : used_) table_[slot] = kFree;
    used_.clear();
  }
  bool add(std::uint32_t id) {
    if (used_.size() * 2 > table_.size()) grow();
    std::size_t slot = slot_of(id);
    while (table_[slot] != kFree) {
      if (table_[slot] == id) return false;
      slot = (slot + 1) & (table_.size() - 1);
    }
    table_[slot] = id;
    used_.push_back(slot);
    return true;
  }

 private:
  static constexpr std::uint32_t kFree = ~std::uint32_t{0};
  [[nodiscard]] std::size_t slot_of(std::uint32_t id) const noexcept {
    return (std::uint64_t{id} * 0x9e3779b97f4a7c15ULL >> 32) & (table_.size() - 1);
  }
  void grow() {
    std::vector<std::uint32_t> ids;
    ids.reserve(used_.size());
    for (std::size_t slot : used_) ids.push_back(table_[slot]);
    table_.assign(table_.size() * 2, kFree);
    used_.clear();
    for (std::uint32_t id : ids) add(id);
  }

  std::vector<std::uint32_t> table_;
  std::vector<std::size_t> used_;
};

/// One lock a vertex: held while its list is copied or changed, never two at once.
class VertexLocks {
 public:
  explicit VertexLocks(std::uint32_t count) : flags_(count) {}
  class Guard {
   public:
    explicit Guard(std::atomic<bool>& flag) : flag_(flag) {
      while (flag_.exchange(true, std::memory_order_acquire)) {
        while (flag_.load(std::memory_order_relaxed)) {
          std::this_thread::yield();
        }
      }
    }
    ~Guard() { flag_.store(false, std::memory_order_release); }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    std::atomic<bool>& flag_;
  };
  [[nodiscard]] Guard lock(std::uint32_t id) { return Guard(flags_[id]); }

 private:
  std::vector<std::atomic<bool>> flags_;
};

/// One thread's part of the construction.
class Linker {
 public:
  Linker(const VectorSpace& space, const VamanaParameters& parameters, Graph& graph, VertexLocks& locks)
      : space_(space),
        parameters_(parameters),
        graph_(graph),
        locks_(locks),
        prune_(space),
        met_(std::size_t{parameters.build_list} * parameters.graph_degree),
        list_distances_(CandidateList::padded(parameters.build_list)),
        list_entries_(CandidateList::padded(parameters.build_list)),
        copied_(graph.max_degree()),
        fresh_(graph.max_degree()),
        distances_(graph.max_degree() + 16) {
    list_.distances = list_distances_.data();
    list_.entries = list_entries_.data();
  }

  void link(std::uint32_t vertex, float alpha) {
    search(vertex);
    for (std::uint32_t i = 0; i < list_.size; ++i) pool_.push_back({list_.distances[i], list_.id(i)});
    // Nearest kMostCandidates of what was seen, plus the edges of the pass before.
    if (pool_.size() > kMostCandidates) {
      std::nth_element(pool_.begin(), pool_.begin() + kMostCandidates, pool_.end());
      pool_.resize(kMostCandidates);
    }
    const std::uint32_t before = copy_neighbors(vertex);
    for (std::uint32_t i = 0; i < before; ++i) {
      pool_.push_back({space_.distance(vertex, copied_[i]), copied_[i]});
    }
    const auto chosen = prune_.choose(vertex, pool_, parameters_.graph_degree, alpha);
    chosen_.assign(chosen.begin(), chosen.end());
    store(vertex, chosen_);
    for (std::uint32_t neighbor : chosen_) link_back(neighbor, vertex, alpha);
  }

  /// Cuts a list that reverse edges made longer than graph_degree.
  void trim(std::uint32_t vertex) {
    const std::uint32_t degree = graph_.degree(vertex);
    if (degree <= parameters_.graph_degree) return;
    pool_.clear();
    for (std::uint32_t i = 0; i < degree; ++i) {
      const std::uint32_t id = graph_.neighbors(vertex)[i];
      pool_.push_back({space_.distance(vertex, id), id});
    }
    store(vertex, prune_.choose(vertex, pool_, parameters_.graph_degree, parameters_.alpha));
  }

  /// The nearest vertex that a search from the entry finds.
  std::uint32_t nearest_found(std::uint32_t vertex) {
    search(vertex);
    return list_.id(0);
  }

 private:
  // Greedy search for a stored vector from the entry; pool_ gets every expanded vertex.
  void search(std::uint32_t target) {
    met_.clear();
    pool_.clear();
    list_.reset(parameters_.build_list);
    met_.add(target);
    const std::uint32_t entry = graph_.entry();
    if (met_.add(entry)) {
      const float distance = space_.distance(target, entry);
      kernels_.insert(list_, &distance, &entry, 1);
    } else {  // the entry itself is linked: start from its neighbours
      expand(target, target);
    }
    std::uint32_t next = 0;
    while (next < list_.size) {
      if (list_.expanded(next)) {
        ++next;
        continue;
      }
      list_.mark_expanded(next);
      pool_.push_back({list_.distances[next], list_.id(next)});
      next = std::min(next + 1, expand(target, list_.id(next)));
    }
  }

  // Scores the neighbours of `vertex` that were not met yet; the lowest position of the list that changed.
  std::uint32_t expand(std::uint32_t target, std::uint32_t vertex) {
    const std::uint32_t degree = copy_neighbors(vertex);
    std::uint32_t fresh = 0;
    for (std::uint32_t i = 0; i < degree; ++i) {
      if (met_.add(copied_[i])) {
        space_.prefetch(copied_[i]);
        fresh_[fresh++] = copied_[i];
      }
    }
    for (std::uint32_t i = 0; i < fresh; ++i) distances_[i] = space_.distance(target, fresh_[i]);
    return kernels_.insert(list_, distances_.data(), fresh_.data(), fresh);
  }

  void link_back(std::uint32_t vertex, std::uint32_t to, float alpha) {
    const auto guard = locks_.lock(vertex);
    std::uint32_t* row = graph_.row(vertex);
    const std::uint32_t degree = row[0];
    if (std::find(row + 1, row + 1 + degree, to) != row + 1 + degree) return;
    if (degree < graph_.max_degree()) {
      row[1 + degree] = to;
      row[0] = degree + 1;
      return;
    }
    pool_.clear();
    for (std::uint32_t i = 1; i <= degree; ++i) space_.prefetch(row[i]);
    for (std::uint32_t i = 1; i <= degree; ++i) pool_.push_back({space_.distance(vertex, row[i]), row[i]});
    pool_.push_back({space_.distance(vertex, to), to});
    const auto chosen = prune_.choose(vertex, pool_, parameters_.graph_degree, alpha);
    row[0] = static_cast<std::uint32_t>(chosen.size());
    std::copy(chosen.begin(), chosen.end(), row + 1);
  }

  std::uint32_t copy_neighbors(std::uint32_t vertex) {
    const auto guard = locks_.lock(vertex);
    const std::uint32_t* row = graph_.row(vertex);
    std::copy_n(row + 1, row[0], copied_.data());
    return row[0];
  }

  void store(std::uint32_t vertex, std::span<const std::uint32_t> neighbors) {
    const auto guard = locks_.lock(vertex);
    std::uint32_t* row = graph_.row(vertex);
    row[0] = static_cast<std::uint32_t>(neighbors.size());
    std::copy(neighbors.begin(), neighbors.end(), row + 1);
  }

  const VectorSpace& space_;
  const VamanaParameters& parameters_;
  Graph& graph_;
  VertexLocks& locks_;
  const HopKernels& kernels_ = hop_kernels();
  RobustPrune prune_;
  MetIds met_;
  CandidateList list_;
  std::vector<float> list_distances_;
  std::vector<std::uint32_t> list_entries_;
  std::vector<Scored> pool_;
  std::vector<std::uint32_t> copied_;
  std::vector<std::uint32_t> fresh_;
  std::vector<float> distances_;
  std::vector<std::uint32_t> chosen_;
};

/// Makes every linked vertex reachable from the entry. Robust pruning may drop the last edge that leads to a vertex,
/// which then no search would find. Such a vertex takes a place near it: a free one, or that of an edge outside of the
/// tree by which the others are reached.
class Connector {
 public:
  Connector(const VectorSpace& space, std::uint32_t graph_degree, Graph& graph, Linker& linker)
      : space_(space),
        graph_degree_(graph_degree),
        graph_(graph),
        linker_(linker),
        parents_(graph.count(), kUnreached) {
    parents_[graph.entry()] = graph.entry();
    reach_from(graph.entry());
  }

  void connect(std::uint32_t vertex) {
    if (parents_[vertex] != kUnreached) return;
    std::uint32_t parent = linker_.nearest_found(vertex);
    // Every edge of a parent may belong to the tree; the tree's leaves have room.
    while (!take_place(parent, vertex)) parent = nearest_neighbor(parent, vertex);
    parents_[vertex] = parent;
    reach_from(vertex);
  }

 private:
  static constexpr std::uint32_t kUnreached = ~std::uint32_t{0};

  // Grows the tree below a vertex that is in it, breadth first.
  void reach_from(std::uint32_t root) {
    open_.assign(1, root);
    for (std::size_t next = 0; next < open_.size(); ++next) {
      const std::uint32_t vertex = open_[next];
      for (std::uint32_t i = 0; i < graph_.degree(vertex); ++i) {
        const std::uint32_t neighbor = graph_.neighbors(vertex)[i];
        if (parents_[neighbor] != kUnreached) continue;
        parents_[neighbor] = vertex;
        open_.push_back(neighbor);
      }
    }
  }

  bool take_place(std::uint32_t parent, std::uint32_t vertex) {
    std::uint32_t* row = graph_.row(parent);
    if (row[0] < graph_degree_) {
      row[++row[0]] = vertex;
      return true;
    }
    std::uint32_t* farthest = nullptr;
    float distance = 0;
    for (std::uint32_t* edge = row + 1; edge != row + 1 + row[0]; ++edge) {
      if (parents_[*edge] == parent) continue;
      const float other = space_.distance(parent, *edge);
      if (farthest != nullptr && other <= distance) continue;
      farthest = edge;
      distance = other;
    }
    if (farthest != nullptr) *farthest = vertex;
    return farthest != nullptr;
  }

  // Of a vertex all of whose edges are the tree's.
  [[nodiscard]] std::uint32_t nearest_neighbor(std::uint32_t of, std::uint32_t to) const {
    const std::uint32_t* begin = graph_.neighbors(of);
    return *std::min_element(begin, begin + graph_.degree(of), [&](std::uint32_t a, std::uint32_t b) {
      return space_.distance(to, a) < space_.distance(to, b);
    });
  }

  const VectorSpace& space_;
  std::uint32_t graph_degree_;
  Graph& graph_;
  Linker& linker_;
  std::vector<std::uint32_t> parents_;
  std::vector<std::uint32_t> open_;
};

// An approximate medoid: of a few hundred random vectors, the one with the least sum of distances to a few others.
std::uint32_t find_entry(const VectorSpace& space, std::span<const std::uint32_t> late, std::uint64_t seed) {
  const std::uint32_t count = space.count();
  const std::uint32_t candidates = std::min<std::uint32_t>(count, 512);
  const std::uint32_t others = std::min<std::uint32_t>(count, 256);
  std::mt19937_64 random(seed ^ 0x6d65646f6964ULL);
  std::vector<std::uint32_t> sample(others);
  for (auto& id : sample) id = static_cast<std::uint32_t>(random() % count);
  std::uint32_t best = 0;
  while (std::binary_search(late.begin(), late.end(), best)) ++best;
  double least = std::numeric_limits<double>::infinity();
  for (std::uint32_t i = 0; i < candidates; ++i) {
    const auto id = static_cast<std::uint32_t>(random() % count);
    if (std::binary_search(late.begin(), late.end(), id)) continue;
    double sum = 0;
    for (std::uint32_t other : sample) sum += static_cast<double>(space.distance(id, other));
    if (sum < least) {
      least = sum;
      best = id;
    }
  }
  return best;
}

void link_in_order(const VectorSpace& space, const VamanaParameters& parameters, Graph& graph,
                   std::span<const std::uint32_t> order, WorkMonitor* monitor) {
  VertexLocks locks(space.count());
  std::vector<std::unique_ptr<Linker>> linkers;
  linkers.reserve(parameters.threads);
  for (unsigned i = 0; i < parameters.threads; ++i) {
    linkers.push_back(std::make_unique<Linker>(space, parameters, graph, locks));
  }
  if (monitor != nullptr) monitor->total = 2 * order.size();
  for (const float alpha : {1.0F, parameters.alpha}) {
    parallel_blocks(order.size(), kBlock, parameters.threads, monitor,
                    [&](std::size_t begin, std::size_t end, unsigned worker) {
                      for (std::size_t i = begin; i < end; ++i) linkers[worker]->link(order[i], alpha);
                    });
  }
  parallel_blocks(space.count(), 1024, parameters.threads, nullptr,
                  [&](std::size_t begin, std::size_t end, unsigned worker) {
                    for (std::size_t i = begin; i < end; ++i) linkers[worker]->trim(static_cast<std::uint32_t>(i));
                  });
  Connector connector(space, parameters.graph_degree, graph, *linkers[0]);
  for (std::uint32_t vertex = 0; vertex < space.count(); ++vertex) {
    if (graph.degree(vertex) > 0) connector.connect(vertex);  // the others wait for link_late
  }
}

}  // namespace

Graph::Graph(std::uint32_t count, std::uint32_t max_degree)
    : count_(count), stride_(max_degree + 1), rows_(std::size_t{count} * stride_ * sizeof(std::uint32_t)) {}

void Graph::set_aside(const std::string& path) {
  OutputFile(path).write({rows_.as<std::byte>(), rows_.bytes()});
  rows_ = HugeBuffer();
}

void Graph::bring_back(const std::string& path) {
  HugeBuffer rows(std::size_t{count_} * stride_ * sizeof(std::uint32_t));
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"), &std::fclose);
  if (!file || std::fread(rows.as<char>(), 1, rows.bytes(), file.get()) != rows.bytes())
    throw Error(ErrorCode::kUnavailable, "cannot read " + path + ": it is not what was set aside");
  rows_ = std::move(rows);
}

std::uint32_t slack_degree(std::uint32_t graph_degree) noexcept {
  return graph_degree + graph_degree * 3 / 8;
}

std::size_t vamana_memory_bytes(std::uint32_t count, const VamanaParameters& parameters) noexcept {
  const std::size_t row = (slack_degree(parameters.graph_degree) + 1) * sizeof(std::uint32_t);
  const std::size_t order_locks_and_tree = 3 * sizeof(std::uint32_t) + sizeof(std::atomic<bool>);
  return count * (row + order_locks_and_tree) + (std::size_t{4} << 20) * parameters.threads;
}

std::unique_ptr<Graph> build_vamana(const VectorSpace& space, const VamanaParameters& parameters,
                                    std::span<const std::uint32_t> late, WorkMonitor* monitor) {
  const std::uint32_t count = space.count();
  auto graph = std::make_unique<Graph>(count, slack_degree(parameters.graph_degree));
  graph->set_entry(find_entry(space, late, parameters.seed));
  std::vector<std::uint32_t> order;
  order.reserve(count - late.size());
  for (std::uint32_t id = 0; id < count; ++id) {
    if (!std::binary_search(late.begin(), late.end(), id)) order.push_back(id);
  }
  std::shuffle(order.begin(), order.end(), std::mt19937_64(parameters.seed));
  link_in_order(space, parameters, *graph, order, monitor);
  return graph;
}

void link_late(const VectorSpace& space, const VamanaParameters& parameters, Graph& graph,
               std::span<const std::uint32_t> late, WorkMonitor* monitor) {
  link_in_order(space, parameters, graph, late, monitor);
}

}  // namespace tiervec::graph_index
