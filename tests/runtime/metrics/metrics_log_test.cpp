#include "runtime/metrics/metrics_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <sstream>

#include "runtime/metrics/console_sink.h"
#include "runtime/metrics/progress_line.h"

namespace ballast::metrics {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct KeepingSink final : Sink {
  std::vector<MetricsRecord>& records;
  explicit KeepingSink(std::vector<MetricsRecord>& to) : records(to) {}
  std::string name() const override { return "kept"; }
  void write(const MetricsRecord& record) override { records.push_back(record); }
};

struct FailingSink final : Sink {
  int& num_calls;
  explicit FailingSink(int& calls) : num_calls(calls) {}
  std::string name() const override { return "/full/metrics.jsonl"; }
  void write(const MetricsRecord&) override {
    ++num_calls;
    throw std::runtime_error("no space left");
  }
};

StepRecord step_record(std::int64_t step) {
  StepRecord record;
  record.step = step;
  record.total_steps = 100;
  record.tokens = step * 10;
  record.step_tokens = 10;
  record.step_sequences = 2;
  record.num_ranks = 2;
  record.loss = 4 - 0.01 * static_cast<double>(step);
  record.grad_norm = 1;
  record.learning_rate = 1e-3;
  record.step_seconds = 0.5;
  record.flops = 100;
  record.peak_flops_per_second = 1000;
  return record;
}

TEST(Summarize, WeighsTheLossByTokens) {
  std::vector<JudgedStep> steps(2);
  steps[0].step = step_record(1);
  steps[0].step.loss = 4;
  steps[0].step.step_tokens = 30;
  steps[1].step = step_record(2);
  steps[1].step.loss = 2;
  steps[1].step.step_tokens = 10;
  EXPECT_DOUBLE_EQ(summarize(steps).loss, 3.5);
}

TEST(Summarize, SumsMeansAndWorstCases) {
  std::vector<JudgedStep> steps(2);
  steps[0].step = step_record(7);
  steps[1].step = step_record(8);
  steps[0].step.step_seconds = 1;
  steps[1].step.step_seconds = 3;
  steps[0].step.comm_seconds = 0.25;
  steps[0].step.phases = {{"forward", 1}, {"backward", 2}};
  steps[1].step.phases = {{"forward", 3}, {"backward", 2}};
  steps[0].step.rank_work = {1, 3};
  steps[1].step.rank_work = {2, 2};
  steps[0].step.zone_fractions = {1, 0, 0};
  steps[1].step.zone_fractions = {0, 0.5, 0.5};
  steps[0].step.rank_busy_seconds = {1, 3};
  steps[1].step.rank_busy_seconds = {3, 1};
  steps[0].step.rank_tokens = {6, 4};
  steps[1].step.rank_tokens = {5, 5};
  steps[0].step.expert_load.resize(1);
  steps[1].step.expert_load.resize(1);
  steps[0].step.expert_load[0].add(std::vector<std::int64_t>{10, 10});
  steps[1].step.expert_load[0].add(std::vector<std::int64_t>{5, 15});
  steps[0].loss_z = -4;
  steps[1].loss_z = 1;
  const MetricsRecord record = summarize(steps);
  EXPECT_EQ(record.step, 8);
  EXPECT_EQ(record.num_steps, 2);
  EXPECT_EQ(record.interval_tokens, 20);
  EXPECT_EQ(record.tokens, 80);
  EXPECT_EQ(record.step_seconds_median, 2);
  EXPECT_EQ(record.step_seconds_max, 3);
  EXPECT_EQ(record.tokens_per_second, 5);
  EXPECT_EQ(record.comm_seconds, 0.125);
  EXPECT_EQ(record.phases, (std::vector<Phase>{{"forward", 2}, {"backward", 2}}));
  EXPECT_EQ(record.imbalance_planned, 1.25);  // (3 + 2) / (2 + 2)
  EXPECT_EQ(record.imbalance_measured, 1.5);  // nothing evens out between steps: every step waits for its slowest rank
  EXPECT_THAT(record.zone_fractions, ElementsAre(0.5, 0.25, 0.25));
  EXPECT_THAT(record.rank_tokens, ElementsAre(11, 9));
  EXPECT_THAT(record.expert_load.at(0).rows_E, ElementsAre(15, 25));
  EXPECT_EQ(record.expert_load.at(0).above_minimum, 5);
  EXPECT_EQ(record.loss_z, -4.0);
  EXPECT_DOUBLE_EQ(record.mfu.value(), 200.0 / 4 / 1000);
  EXPECT_THROW(summarize({}), std::logic_error);
}

TEST(MetricsLog, WritesTheFirstStepThenEveryInterval) {
  std::ostringstream warnings;
  std::vector<MetricsRecord> every, tens;
  MetricsLog log(warnings);
  log.add_sink(std::make_unique<KeepingSink>(every), 1);
  log.add_sink(std::make_unique<KeepingSink>(tens), 10);
  for (std::int64_t step = 14; step <= 33; ++step) log.add(step_record(step));  // a resumed run
  log.finish();
  log.finish();
  EXPECT_EQ(every.size(), 20u);
  std::map<std::int64_t, std::int64_t> num_steps;
  for (const MetricsRecord& record : tens) num_steps[record.step] = record.num_steps;
  EXPECT_EQ(num_steps, (std::map<std::int64_t, std::int64_t>{{14, 1}, {20, 6}, {30, 10}, {33, 3}}));
  EXPECT_EQ(warnings.str(), "");
}

TEST(MetricsLog, JudgesALossAgainstTheStepsBeforeIt) {
  std::ostringstream warnings;
  std::vector<MetricsRecord> records;
  MetricsLog log(warnings);
  log.add_sink(std::make_unique<KeepingSink>(records), 1);
  for (std::int64_t step = 1; step <= 20; ++step) {
    StepRecord record = step_record(step);
    record.loss = step == 20 ? 9 : step % 2 == 0 ? 3 : 1;
    if (step == 15) record.loss = std::numeric_limits<double>::quiet_NaN();
    log.add(record);
  }
  EXPECT_EQ(records[7].loss_z, std::nullopt);  // seven steps before it
  EXPECT_TRUE(records[8].loss_z.has_value());
  EXPECT_EQ(records[14].loss_z, std::nullopt);
  EXPECT_GT(records[19].loss_z.value(), 6.5);  // mean 2, deviation 1: the spike itself is not in the window
}

TEST(MetricsLog, ForetellsTheEnd) {
  std::ostringstream warnings;
  std::vector<MetricsRecord> records;
  MetricsLog log(warnings);
  log.add_sink(std::make_unique<KeepingSink>(records), 1);
  StepRecord record = step_record(40);
  record.planned_pause_seconds = 7;
  log.add(record);
  record.total_steps = 0;
  record.step = 41;
  log.add(record);
  EXPECT_EQ(records[0].eta_seconds, 60 * 0.5 + 7);
  EXPECT_EQ(records[1].eta_seconds, std::nullopt);
}

TEST(MetricsLog, AFailingSinkWarnsOnceAndTheOthersGoOn) {
  std::ostringstream warnings;
  std::vector<MetricsRecord> records;
  int num_calls = 0;
  MetricsLog log(warnings);
  log.add_sink(std::make_unique<FailingSink>(num_calls), 1);
  log.add_sink(std::make_unique<KeepingSink>(records), 1);
  for (std::int64_t step = 1; step <= 3; ++step) log.add(step_record(step));
  EXPECT_EQ(num_calls, 3);
  EXPECT_EQ(records.size(), 3u);
  EXPECT_EQ(warnings.str(), "step 1: /full/metrics.jsonl failed and training goes on without it: no space left\n");
}

TEST(MetricsLog, AnImpossibleMfuIsLeftOutAndExplained) {
  std::ostringstream warnings;
  std::vector<MetricsRecord> records;
  MetricsLog log(warnings);
  log.add_sink(std::make_unique<KeepingSink>(records), 1);
  StepRecord record = step_record(1);
  record.peak_flops_per_second = 100;  // 100 FLOP in half a second
  log.add(record);
  record.step = 2;
  log.add(record);
  EXPECT_EQ(records[0].mfu, std::nullopt);
  EXPECT_EQ(records[1].mfu, std::nullopt);
  EXPECT_EQ(
      warnings.str(),
      "step 1: mfu would be 2.00: 100 FLOP (formula ballast-1, 10 tokens) in 0.500 s over a peak of 100 FLOP/s; the peak is "
      "wrong, mfu is left out whenever it passes 1\n");
}

TEST(MetricsLog, RefusesAnIntervalOfNothing) {
  std::ostringstream warnings;
  std::vector<MetricsRecord> records;
  MetricsLog log(warnings);
  try {
    log.add_sink(std::make_unique<KeepingSink>(records), 0);
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(error.what(), "metrics sink kept: every_steps is 0, at least 1 wanted");
  }
}

MetricsRecord full_record() {
  MetricsRecord record;
  record.step = 1240;
  record.total_steps = 20000;
  record.tokens = 2'540'000;
  record.num_ranks = 4;
  record.loss = 3.4121;
  record.loss_z = -0.31;
  record.grad_norm = 0.81;
  record.grad_norm_z = 0.12;
  record.learning_rate = 5.9e-4;
  record.step_seconds_median = 0.127;
  record.step_seconds_max = 0.1284;
  record.tokens_per_second = 16126;
  record.mfu = 0.416;
  record.rank_resident_bytes = {1 << 29, 655'000'000};
  record.comm_seconds = 0.004;
  record.imbalance_planned = 1.03;
  record.imbalance_measured = 1.05;
  record.zone_fractions = {0.62, 0.3, 0.08};
  record.expert_load.resize(2);
  record.expert_load[0].add(std::vector<std::int64_t>{10, 10});
  record.expert_load[1].add(std::vector<std::int64_t>{20, 0});
  record.checkpoint_step = 1200;
  record.eta_seconds = 2381;
  return record;
}

TEST(ProgressLine, HoldsEveryKey) {
  EXPECT_EQ(progress_line(full_record()),
            "step=1240/20000  tok=2.54M loss=3.412 z=-0.3 gnorm=0.81 z=+0.1 lr=5.9e-04 ms=127/128   tok/s=16.1k/4.03k mfu=41.6% "
            "mem=0.61 comm=4.0 imb=1.03/1.05 zone=62/30/8%    moe=2.00/1/0.0% skip=0/0 ckpt=1200 eta=0-00:40");
}

TEST(ProgressLine, CellsStayBelowEachOther) {
  MetricsRecord narrow = full_record();
  narrow.step = 10;
  narrow.tokens = 20'000;
  narrow.step_seconds_median = narrow.step_seconds_max = 0.0071;
  narrow.checkpoint_step = -1;
  const std::string wide = progress_line(full_record()), other = progress_line(narrow);
  for (const char* key : {"tok=", "loss=", "gnorm=", "lr=", "ms=", "tok/s=", "mfu=", "comm=", "moe=", "ckpt=", "eta="}) {
    EXPECT_EQ(wide.find(key), other.find(key)) << key << "\n" << wide << "\n" << other;
  }
}

TEST(ProgressLine, SaysWhatIsUnknownAndLeavesOutWhatCannotBe) {
  MetricsRecord record;
  record.loss = std::numeric_limits<double>::quiet_NaN();
  const std::string line = progress_line(record);
  for (const char* part : {"step=0/n/a", "loss=nan", "z=n/a", "mfu=n/a", "ckpt=none", "eta=n/a"})
    EXPECT_THAT(line, HasSubstr(part));
  for (const char* key : {"moe=", "imb=", "zone=", "mem="}) EXPECT_EQ(line.find(key), std::string::npos) << line;
}

TEST(ProgressLine, Parses) {
  std::istringstream words(progress_line(full_record()));
  std::vector<std::string> keys;
  for (std::string word; words >> word;) {
    ASSERT_NE(word.find('='), std::string::npos) << word;
    keys.push_back(word.substr(0, word.find('=')));
  }
  EXPECT_THAT(keys, ElementsAre("step", "tok", "loss", "z", "gnorm", "z", "lr", "ms", "tok/s", "mfu", "mem", "comm", "imb", "zone", "moe",
                                "skip", "ckpt", "eta"));
}

TEST(ConsoleSink, WritesLinesAndReportsADeadStream) {
  std::ostringstream stream;
  ConsoleSink sink(stream);
  sink.write(full_record());
  sink.write(full_record());
  EXPECT_EQ(stream.str(), progress_line(full_record()) + "\n" + progress_line(full_record()) + "\n");
  stream.setstate(std::ios::badbit);
  EXPECT_THROW(sink.write(full_record()), std::runtime_error);
}

}  // namespace
}  // namespace ballast::metrics
