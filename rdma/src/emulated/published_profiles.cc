// Figures of arXiv 2405.03267: latency and small reads from Table 1, sizes from the curves of Figure 6.

#include <array>

#include <tiervec/rdma/emulated_tier.h>

namespace tiervec::rdma {

namespace {

constexpr double kMega = 1e6;
constexpr double kGiga = 1e9;

ServicePoint reads_at(double bytes, double reads_per_s) {
  return {bytes, kGiga / reads_per_s};
}
ServicePoint bandwidth_at(double bytes, double bytes_per_s) {
  return {bytes, kGiga * bytes / bytes_per_s};
}

DeviceProfile rdma_200g() {
  return {2.8, 68 * kMega, 23.9 * kGiga, 64, true, "published"};
}

DeviceProfile cxl_x8() {
  return {0.3, 213 * kMega, 21.8 * kGiga, 64, true, "published"};
}

DeviceProfile nvm_optane() {
  return {0.4,
          221 * kMega,
          37 * kGiga,
          256,
          true,
          "published",
          {reads_at(8, 221 * kMega), reads_at(256, 169 * kMega), bandwidth_at(1024, 37 * kGiga)}};
}

DeviceProfile ssd_p5520() {
  return {75,
          0.6 * kMega,
          5.3 * kGiga,
          4096,
          true,
          "published",
          {reads_at(4096, 0.6 * kMega), bandwidth_at(32768, 3.5 * kGiga)}};
}

constexpr std::array kProfiles = {
    PublishedProfile{"rdma-200g", "RDMA over a 200 Gb/s network", rdma_200g},
    PublishedProfile{"cxl-x8", "CXL memory on 8 lanes", cxl_x8},
    PublishedProfile{"nvm-optane", "Optane persistent memory", nvm_optane},
    PublishedProfile{"ssd-p5520", "NVMe SSD, Intel P5520", ssd_p5520},
};

}  // namespace

std::span<const PublishedProfile> published_profiles() {
  return kProfiles;
}

}  // namespace tiervec::rdma
