#include <tiervec/core/idle_step.h>

#include <gtest/gtest.h>

#include <tiervec/core/polling_budget.h>

namespace tiervec {
namespace {

using namespace std::chrono_literals;
using Kind = IdleStep::Kind;

TEST(IdleStep, SpinsThenYieldsThenSleeps) {
  EXPECT_EQ(idle_step(1, 1us, false).kind, Kind::kSpin);
  EXPECT_EQ(idle_step(1024, 500us, false).kind, Kind::kSpin);
  EXPECT_EQ(idle_step(1025, 500us, false).kind, Kind::kYield);
  EXPECT_EQ(idle_step(2, 1ms, false).kind, Kind::kSleep) << "however slow its turns are";
}

TEST(IdleStep, ACrowdSleepsSoon) {
  EXPECT_EQ(idle_step(1, 1us, true).kind, Kind::kSpin);
  EXPECT_EQ(idle_step(2, 20us, true).kind, Kind::kSleep);
}

TEST(IdleStep, SleepsForAnEighthOfTheWait) {
  EXPECT_EQ(idle_step(9, 4ms, false).sleep, 500us);
  EXPECT_EQ(idle_step(9, 40us, true).sleep, 20us);
  EXPECT_EQ(idle_step(9, 10s, false).sleep, 1ms);
}

TEST(PollingBudget, IsExceededByOneThreadTooMany) {
  PollingBudget budget(1);
  const PollingBudget::Place first(budget);
  EXPECT_FALSE(budget.is_exceeded());
  {
    const PollingBudget::Place second(budget);
    EXPECT_TRUE(budget.is_exceeded());
  }
  EXPECT_FALSE(budget.is_exceeded());
}

TEST(PollingBudget, WithoutAQuotaNeverIs) {
  PollingBudget budget(0);
  const PollingBudget::Place first(budget);
  const PollingBudget::Place second(budget);
  EXPECT_FALSE(budget.is_exceeded());
}

}  // namespace
}  // namespace tiervec
