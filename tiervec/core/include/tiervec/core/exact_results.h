#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace tiervec {

/// The k nearest records seen so far by exact distance, nearest first; ties by id.
class ExactResults {
 public:
  struct Result {
    float distance = std::numeric_limits<float>::infinity();
    std::int64_t label = -1;
  };

  void reserve(std::uint32_t k) {
    if (results_.size() < k) results_.resize(k);
  }
  void clear(std::uint32_t k) noexcept {
    k_ = k;
    count_ = 0;
  }
  void add(float distance, std::int64_t label) noexcept {
    if (count_ == k_) {
      if (!nearer(distance, label, results_[k_ - 1])) return;
    } else {
      ++count_;
    }
    std::uint32_t at = count_ - 1;
    for (; at > 0 && nearer(distance, label, results_[at - 1]); --at) results_[at] = results_[at - 1];
    results_[at] = {distance, label};
  }
  /// The same for a search that may see a record twice: equal labels have equal distances.
  void add_once(float distance, std::int64_t label) noexcept {
    for (std::uint32_t i = count_; i > 0 && distance <= results_[i - 1].distance; --i) {
      if (results_[i - 1].label == label) return;
    }
    add(distance, label);
  }
  /// The k-th distance, +inf while there are fewer.
  [[nodiscard]] float kth() const noexcept {
    return count_ == k_ ? results_[k_ - 1].distance : std::numeric_limits<float>::infinity();
  }
  /// Padded with -1 and +inf.
  void copy_to(std::int64_t* labels, float* distances) const noexcept {
    for (std::uint32_t i = 0; i < k_; ++i) {
      const Result result = i < count_ ? results_[i] : Result{};
      labels[i] = result.label;
      distances[i] = result.distance;
    }
  }

 private:
  static bool nearer(float distance, std::int64_t label, const Result& than) noexcept {
    return distance < than.distance || (distance == than.distance && label < than.label);
  }

  std::vector<Result> results_;
  std::uint32_t k_ = 0;
  std::uint32_t count_ = 0;
};

}  // namespace tiervec
