#include <tiervec/rdma/measure.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/rdma/dram_tier.h>
#include <tiervec/rdma/emulated_tier.h>

namespace tiervec::rdma {
namespace {

std::vector<std::byte> region() {
  return std::vector<std::byte>(300'000, std::byte{3});
}

std::shared_ptr<Tier> open_emulated(const std::string& text) {
  const TierUrl url = parse_tier_url(text);
  return std::make_shared<EmulatedTier>(url.text, parse_emulated_profile(url), MemoryRegion::copy_of(region()));
}

TEST(Measure, LatencyIsAscendingAndNotBelowTheDevices) {
  const auto tier = open_emulated("emulated:latency_us=200,reads_mps=1,gbps=1,block=64");
  const std::vector<double> latencies_ns = measure_latency_ns(*tier, 64, 20, 1);
  ASSERT_EQ(latencies_ns.size(), 20U);
  EXPECT_TRUE(std::is_sorted(latencies_ns.begin(), latencies_ns.end()));
  EXPECT_GE(latencies_ns.front(), 195e3);
}

TEST(Measure, ThroughputIsNotAboveTheDevices) {
  const auto tier = open_emulated("emulated:latency_us=10,reads_mps=0.1,gbps=1,block=64");
  const double slow = measure_reads_per_s(*tier, {.threads = 2, .reads_in_flight = 8, .seconds = 0.02});
  EXPECT_GT(slow, 0);
  EXPECT_LT(slow, 0.15e6);
  const double big = measure_reads_per_s(*tier, {.read_bytes = 65536, .reads_in_flight = 4, .seconds = 0.02});
  EXPECT_LT(big * 65536, 2e9);
}

TEST(Measure, ARunWithoutAReadGoesOnUntilOneIsBack) {
  const auto tier = open_emulated("emulated:latency_us=20000,reads_mps=1,gbps=1,block=64");
  EXPECT_GT(measure_reads_per_s(*tier, {.seconds = 1e-6, .patience_s = 60}), 0);
  EXPECT_EQ(measure_reads_per_s(*tier, {.seconds = 1e-6, .patience_s = 0}), 0);
}

TEST(Measure, WhatWasNotMeasuredStaysNominalAndIsSaid) {
  DeviceProfile profile{.latency_us = 1, .reads_per_s = 7, .bytes_per_s = 70, .source = "nominal"};
  profile.note = "threads read";
  take_measured(profile, 10, 0, 0);
  EXPECT_EQ(profile.source, "nominal");
  EXPECT_EQ(profile.reads_per_s, 7);
  EXPECT_TRUE(profile.note.starts_with("threads read; the device was not measured")) << profile.note;
  take_measured(profile, 10, 5, 50);
  EXPECT_EQ(profile.source, "measured");
  EXPECT_EQ(profile.reads_per_s, 5);
  EXPECT_EQ(profile.bytes_per_s, 50);
}

TEST(Measure, WorksWithEveryReadSize) {
  const auto tier = DramTier::from_bytes(region());
  for (const std::uint32_t bytes : {1U, 64U, 100U, 4096U, 65536U}) {
    EXPECT_GT(measure_reads_per_s(*tier, {.read_bytes = bytes, .seconds = 0.002}), 0);
    EXPECT_EQ(measure_latency_ns(*tier, bytes, 5, 1).size(), 5U);
  }
}

TEST(Measure, RefusesWhatCannotBeMeasured) {
  const auto tier = DramTier::from_bytes(region());
  EXPECT_THROW((void)measure_latency_ns(*tier, 0, 5, 1), Error);
  EXPECT_THROW((void)measure_latency_ns(*tier, 300'001, 5, 1), Error);
  EXPECT_THROW((void)measure_reads_per_s(*tier, {.read_bytes = 300'001}), Error);
  EXPECT_THROW((void)measure_reads_per_s(*tier, {.threads = 0}), Error);
  EXPECT_THROW((void)measure_reads_per_s(*tier, {.seconds = 0}), Error);
  // Longer than a queue allows by default: the tier's own error, with the tier's name.
  try {
    (void)measure_reads_per_s(*tier, {.read_bytes = 100'000});
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find("dram:"), std::string::npos);
  }
}

}  // namespace
}  // namespace tiervec::rdma
