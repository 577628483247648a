#include <tiervec/rdma/device_profile.h>

#include <cmath>
#include <string_view>

#include <gtest/gtest.h>

#include <tiervec/rdma/emulated_tier.h>

namespace tiervec::rdma {
namespace {

DeviceProfile published(std::string_view name) {
  for (const PublishedProfile& candidate : published_profiles()) {
    if (candidate.name == name) {
      return candidate.profile();
    }
  }
  ADD_FAILURE() << "no profile " << name;
  return {};
}

double million_reads_per_s(const DeviceProfile& profile, double bytes) {
  return 1e3 / service_ns(profile, bytes);
}
double gb_per_s(const DeviceProfile& profile, double bytes) {
  return bytes / service_ns(profile, bytes);
}

TEST(DeviceProfile, RdmaIsFlatUpToItsKnee) {
  const DeviceProfile rdma = published("rdma-200g");
  for (const double bytes : {8, 64, 256, 350}) {
    EXPECT_NEAR(million_reads_per_s(rdma, bytes), 68, 1e-9);
  }
  EXPECT_NEAR(knee_bytes(rdma), 351, 1);
  EXPECT_NEAR(gb_per_s(rdma, 4096), 23.9, 1e-9);
  EXPECT_EQ(reads_in_flight(rdma), 191U);
}

TEST(DeviceProfile, OptaneFollowsItsCurve) {
  const DeviceProfile nvm = published("nvm-optane");
  EXPECT_NEAR(million_reads_per_s(nvm, 8), 221, 1e-6);
  EXPECT_NEAR(million_reads_per_s(nvm, 256), 169, 1e-6);
  EXPECT_NEAR(gb_per_s(nvm, 256), 43, 0.5);
  EXPECT_NEAR(gb_per_s(nvm, 1024), 37, 1e-6);
  EXPECT_NEAR(gb_per_s(nvm, 65536), 37, 1e-6);
}

TEST(DeviceProfile, SsdFollowsItsCurve) {
  const DeviceProfile ssd = published("ssd-p5520");
  EXPECT_NEAR(million_reads_per_s(ssd, 512), 0.6, 1e-9);
  EXPECT_NEAR(million_reads_per_s(ssd, 4096), 0.6, 1e-9);
  EXPECT_NEAR(gb_per_s(ssd, 32768), 3.5, 1e-6);
  EXPECT_LT(gb_per_s(ssd, 1 << 20), 5.3);
  EXPECT_GT(gb_per_s(ssd, 1 << 24), 5.2);
}

TEST(DeviceProfile, BiggerReadsNeverTakeLess) {
  for (const PublishedProfile& candidate : published_profiles()) {
    const DeviceProfile profile = candidate.profile();
    double before = 0;
    for (double bytes = 1; bytes < 1e6; bytes *= 1.1) {
      EXPECT_GE(service_ns(profile, bytes), before) << candidate.name << " at " << bytes;
      before = service_ns(profile, bytes);
    }
  }
}

TEST(DeviceProfile, BoundsQueriesPerSecond) {
  const DeviceProfile rdma = published("rdma-200g");
  EXPECT_NEAR(device_bound_qps(rdma, 45, 45 * 256), 68e6 / 45, 1);
  EXPECT_NEAR(device_bound_qps(rdma, 10, 10 * 4096), 23.9e9 / 40960, 1);
  EXPECT_NEAR(device_bound_qps(rdma, 1, 4097), 23.9e9 / (4096 + 64), 1) << "whole blocks";
  EXPECT_NEAR(device_bound_qps(published("ssd-p5520"), 50, 50 * 200), 0.6e6 / 50, 1e-6);
  EXPECT_NEAR(fraction_of_limit(rdma, 68e6 / 90, 45, 45 * 256), 0.5, 1e-9);
}

TEST(DeviceProfile, QueriesWithoutReadsAreNotBound) {
  const DeviceProfile rdma = published("rdma-200g");
  EXPECT_TRUE(std::isinf(device_bound_qps(rdma, 0, 0)));
  EXPECT_EQ(fraction_of_limit(rdma, 1000, 0, 0), 0);
}

}  // namespace
}  // namespace tiervec::rdma
