#include "runtime/metrics/metrics_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

#include "runtime/metrics/jsonl_sink.h"

namespace ballast::metrics {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// A folder that is gone when the test is over.
class MetricsFile : public ::testing::Test {
 protected:
  MetricsFile() {
    std::string pattern = std::filesystem::temp_directory_path() / "ballast_metrics_XXXXXX";
    folder_ = mkdtemp(pattern.data());
    path_ = folder_ / kMetricsFile;
  }
  ~MetricsFile() override { std::filesystem::remove_all(folder_); }

  std::string text() const {
    std::ifstream in(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void append(const std::string& text) const { std::ofstream(path_, std::ios::app) << text; }

  std::filesystem::path folder_, path_;
};

MetricsRecord record_of_step(std::int64_t step) {
  MetricsRecord record;
  record.step = step;
  record.loss = 1.0 / 3;
  return record;
}

// Every member different from its default and from the others.
MetricsRecord filled_record() {
  MetricsRecord r;
  double next = 1.1;
  for (double* member :
       {&r.unix_seconds, &r.loss, &r.grad_norm, &r.learning_rate, &r.step_seconds_median, &r.step_seconds_max,
        &r.interval_seconds, &r.data_seconds, &r.comm_seconds, &r.tokens_per_second, &r.flops, &r.peak_flops_per_second}) {
    *member = next++;
  }
  for (std::optional<double>* member :
       {&r.loss_z, &r.grad_norm_z, &r.mfu, &r.imbalance_planned, &r.imbalance_measured, &r.eta_seconds}) {
    *member = next++;
  }
  std::int64_t count = 100;
  for (std::int64_t* member : {&r.step, &r.total_steps, &r.num_steps, &r.tokens, &r.interval_tokens, &r.interval_sequences,
                               &r.num_ranks, &r.dropped_rows, &r.skipped_nonfinite, &r.skipped_spikes, &r.checkpoint_step}) {
    *member = count++;
  }
  r.phases = {{"forward", 0.25}, {"backward", 0.5}};
  r.zone_fractions = {0.5, 0.375, 0.125};
  r.rank_busy_seconds = {0.1, 0.2};
  r.rank_tokens = {5, std::int64_t{1} << 60};
  r.rank_resident_bytes = {7, 8};
  r.expert_load.resize(2);
  r.expert_load[0].add(std::vector<std::int64_t>{1, 2, 3});
  r.expert_load[1].add(std::vector<std::int64_t>{0, 6, 0});
  return r;
}

TEST_F(MetricsFile, EveryMemberSurvives) {
  EXPECT_EQ(parse_record(to_json(filled_record())), filled_record());
  EXPECT_EQ(parse_record(to_json(MetricsRecord{})), MetricsRecord{});
  EXPECT_EQ(to_json(filled_record()).find('\n'), std::string::npos);
}

TEST_F(MetricsFile, NumbersStayNumbersAndTheOthersAreNamed) {
  MetricsRecord record = filled_record();
  record.loss = std::numeric_limits<double>::quiet_NaN();
  record.grad_norm = std::numeric_limits<double>::infinity();
  record.learning_rate = -std::numeric_limits<double>::infinity();
  record.mfu.reset();
  const auto json = nlohmann::json::parse(to_json(record));
  EXPECT_EQ(json["v"], 1);
  EXPECT_EQ(json["loss"], "nan");
  EXPECT_EQ(json["grad_norm"], "inf");
  EXPECT_EQ(json["learning_rate"], "-inf");
  EXPECT_TRUE(json["mfu"].is_null());
  EXPECT_TRUE(json["step"].is_number_integer());
  EXPECT_EQ(json["mfu_formula"], "ballast-1");
  EXPECT_EQ(json["expert_load"][1], (std::vector<int>{0, 6, 0}));
  EXPECT_EQ(json["expert_load_above_minimum"], (std::vector<int>{1, 4}));
  EXPECT_TRUE(std::isnan(parse_record(to_json(record)).loss));
  EXPECT_EQ(parse_record(to_json(record)).learning_rate, -std::numeric_limits<double>::infinity());
}

std::string refusal(const std::string& json) {
  try {
    parse_record(json);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

TEST_F(MetricsFile, RefusesWhatItCannotRead) {
  EXPECT_EQ(refusal("{\"v\":1,"), "not a JSON object");
  EXPECT_EQ(refusal("[1]"), "not a JSON object");
  EXPECT_EQ(refusal("{}"), "version \"v\" is missing, this program reads 1");
  EXPECT_EQ(refusal("{\"v\":2}"), "version \"v\" is 2, this program reads 1");
  EXPECT_EQ(refusal(R"({"v":1,"step":"7"})"), "\"step\" is \"7\", an integer wanted");
  EXPECT_EQ(refusal(R"({"v":1,"step":1.5})"), "\"step\" is 1.5, an integer wanted");
  EXPECT_EQ(refusal(R"({"v":1,"loss":[]})"), "\"loss\" is [], a number wanted");
  EXPECT_EQ(refusal(R"({"v":1,"rank_tokens":3})"), "\"rank_tokens\" is 3, a list wanted");
  EXPECT_EQ(refusal(R"({"v":1,"expert_load":[3]})"), "\"expert_load\" is 3, a list of lists wanted");
  EXPECT_THAT(refusal(R"({"v":1,"expert_load":[[1]]})"), HasSubstr("as many layers as in the lists beside it"));
  EXPECT_EQ(refusal(R"({"v":1,"later":"member"})"), "");
}

TEST_F(MetricsFile, ReadsBackWhatTheSinkWrote) {
  JsonlSink sink(path_, 0);
  sink.write(record_of_step(1));
  sink.write(record_of_step(2));
  EXPECT_EQ(read_metrics(path_), (std::vector<MetricsRecord>{record_of_step(1), record_of_step(2)}));
  append(R"({"v":1,"step":3)");  // no line end: still being written
  EXPECT_EQ(read_metrics(path_).size(), 2u);
  append("\n");
  try {
    read_metrics(path_);
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_EQ(error.what(), path_.string() + ":3: not a JSON object");
  }
  EXPECT_THROW(read_metrics(folder_ / "absent"), std::runtime_error);
}

TEST_F(MetricsFile, AResumedRunCutsOffTheStepsThatItRepeats) {
  for (std::int64_t step = 1; step <= 9; ++step) append(to_json(record_of_step(step)) + "\n");
  append(R"({"v":1,"st)");  // killed while it wrote
  {
    JsonlSink sink(path_, 6);
    sink.write(record_of_step(7));
  }
  std::vector<std::int64_t> steps;
  for (const MetricsRecord& record : read_metrics(path_)) steps.push_back(record.step);
  EXPECT_EQ(steps, (std::vector<std::int64_t>{1, 2, 3, 4, 5, 6, 7}));

  JsonlSink fresh(path_, 0);
  fresh.write(record_of_step(1));
  EXPECT_EQ(text(), to_json(record_of_step(1)) + "\n");
}

TEST_F(MetricsFile, AnUnfinishedRecordIsRemovedBeforeTheNext) {
  const rlim_t line = to_json(record_of_step(1)).size() + 1;
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto on_limit = std::signal(SIGXFSZ, SIG_IGN);
  JsonlSink sink(path_, 0);
  sink.write(record_of_step(1));

  rlimit full = before;
  full.rlim_cur = line + line / 2;  // stands for a disk that is full in the middle of a record
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
  std::string message;
  try {
    sink.write(record_of_step(2));
  } catch (const std::runtime_error& error) {
    message = error.what();
  }
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, on_limit);
  EXPECT_THAT(message, HasSubstr("bytes were written: is the disk full?"));

  sink.write(record_of_step(3));
  EXPECT_EQ(text(), to_json(record_of_step(1)) + "\n" + to_json(record_of_step(3)) + "\n");
}

TEST_F(MetricsFile, AFolderThatIsMissingIsNamed) {
  JsonlSink sink(folder_ / "absent" / kMetricsFile, 0);
  try {
    sink.write(record_of_step(1));
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_THAT(error.what(), StartsWith("open " + (folder_ / "absent" / kMetricsFile).string()));
  }
}

}  // namespace
}  // namespace ballast::metrics
