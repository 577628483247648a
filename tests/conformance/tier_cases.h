#pragma once

// The tiers every test of this folder runs on. A new tier adds a line; one that needs a server starts it in `open`.

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include <tiervec/rdma/tier.h>

namespace tiervec::rdma::conformance {

struct TierCase {
  std::string name;
  std::function<std::shared_ptr<Tier>(const std::string& region_path)> open;
};

inline std::ostream& operator<<(std::ostream& out, const TierCase& tier_case) {
  return out << tier_case.name;
}

inline TierCase by_url(const std::string& name, const std::string& url) {
  return {name, [url](const std::string& region_path) { return open_tier(url, region_path); }};
}

inline const std::vector<TierCase>& tier_cases() {
  static const std::vector<TierCase> cases = {
      by_url("dram", "dram:"),
      by_url("mmap", "mmap:"),
      by_url("emulated_rdma", "emulated:rdma-200g"),
      by_url("emulated_cxl", "emulated:cxl-x8"),
      by_url("emulated_nvm", "emulated:nvm-optane"),
      by_url("emulated_ssd", "emulated:ssd-p5520"),
      by_url("emulated_own", "emulated:latency_us=300,reads_mps=1,gbps=1,block=512"),
  };
  return cases;
}

}  // namespace tiervec::rdma::conformance
