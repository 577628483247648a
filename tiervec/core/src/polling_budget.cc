#include <tiervec/core/polling_budget.h>

#include <algorithm>

#include <tiervec/core/process_limits.h>

namespace tiervec {

PollingBudget& PollingBudget::of_process() {
  static PollingBudget budget([] {
    const CpuLimit limit = cpu_limit();
    return limit.quota_cpus > 0 ? std::max(1U, static_cast<unsigned>(limit.quota_cpus)) : 0U;
  }());
  return budget;
}

}  // namespace tiervec
