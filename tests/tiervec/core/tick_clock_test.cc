#include <tiervec/core/tick_clock.h>

#include <chrono>
#include <string>
#include <thread>

#include <gtest/gtest.h>

namespace tiervec {
namespace {

using namespace std::chrono_literals;

TEST(TickClock, RunsLikeTheSteadyClockRealTime) {
  const auto start = std::chrono::steady_clock::now();
  const Ticks first = TickClock::now();
  std::this_thread::sleep_for(30ms);
  const double ticks_ns = static_cast<double>(TickClock::now() - first) / TickClock::ticks_per_ns();
  const double steady_ns = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
  EXPECT_GE(ticks_ns, 29e6);
  EXPECT_LE(ticks_ns, steady_ns * 1.01);
}

TEST(TickClock, ConvertsMoments) {
  const Ticks now = TickClock::now();
  EXPECT_GT(TickClock::after(1h), now);
  EXPECT_LT(TickClock::after(-1s), TickClock::now());
  EXPECT_EQ(TickClock::at(std::chrono::steady_clock::time_point::max()), kNever);
  EXPECT_LT(TickClock::at(std::chrono::steady_clock::now() - 1s), TickClock::now());
  EXPECT_EQ(TickClock::after(std::chrono::nanoseconds::min()), 0U);
}

TEST(ManualClock, StandsUntilItIsAdvanced) {
  ManualClock clock;
  const TimeSource time(clock);
  const Ticks start = time.now();
  EXPECT_EQ(time.now(), start);
  const Ticks soon = clock.after(2ms);
  clock.advance(1ms);
  EXPECT_LT(time.now(), soon);
  clock.advance(1ms);
  EXPECT_NEAR(static_cast<double>(time.now()), static_cast<double>(soon), 1);
  EXPECT_NEAR(static_cast<double>(soon - start), 2e6 * TickClock::ticks_per_ns(), 2);
}

TEST(TimeSource, IsTheTickClockUnlessItIsToldOtherwise) {
  const Ticks before = TickClock::now();
  const Ticks now = TimeSource().now();
  EXPECT_LE(before, now);
  EXPECT_LE(now, TickClock::now());
}

TEST(TickClock, SaysWhatItIs) {
  const std::string source = TickClock::source();
  EXPECT_TRUE(source == "tsc" || source == "steady_clock");
}

}  // namespace
}  // namespace tiervec
