// Traces are JSON that viewers accept: every event has a process and a thread with a name, and times are those of the spans.
#include "scheduler/trace/perfetto.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

namespace ballast::scheduler {
namespace {

Timeline two_ranks() {
  Timeline timeline;
  timeline.name = "a \"name\"\n";
  timeline.node_of_rank = {0, 1};
  timeline.node_of_nic_group = {0, 1};
  Span compute;
  compute.owner = compute.rank = 1;
  compute.layer = 3;
  compute.sequence = 7;
  compute.begin_seconds = 0.5;
  compute.end_seconds = 0.75;
  timeline.spans.push_back(compute);
  Span message;
  message.lane = Lane::kNicReceive;
  message.work = Work::kDispatch;
  message.pass = Pass::kBackward;
  message.rank = 1;
  message.owner = 1;
  message.peer = 0;
  message.bytes = 1234;
  message.end_seconds = 1e-9;
  timeline.spans.push_back(message);
  return timeline;
}

TEST(Perfetto, EventsAreNamedAndTimed) {
  const Timeline timelines[] = {two_ranks(), two_ranks()};
  const nlohmann::json trace = nlohmann::json::parse(perfetto_json(timelines));
  std::set<int> named_processes;
  std::set<std::pair<int, int>> named_threads;
  std::vector<nlohmann::json> spans;
  for (const nlohmann::json& event : trace.at("traceEvents")) {
    const int process = event.at("pid");
    if (event.at("name") == "process_name") {
      EXPECT_TRUE(named_processes.insert(process).second);
    } else if (event.at("name") == "thread_name") {
      EXPECT_TRUE(named_threads.emplace(process, event.at("tid")).second);
    }
    if (event.at("ph") == "X") spans.push_back(event);
  }
  ASSERT_EQ(spans.size(), 4u);
  for (const nlohmann::json& span : spans) {
    EXPECT_TRUE(named_processes.contains(span.at("pid")));
    EXPECT_TRUE(named_threads.contains({span.at("pid"), span.at("tid")}));
  }
  EXPECT_EQ(spans[0].at("name"), "attention");
  EXPECT_EQ(spans[0].at("cat"), "forward");
  EXPECT_DOUBLE_EQ(spans[0].at("ts"), 500000);
  EXPECT_DOUBLE_EQ(spans[0].at("dur"), 250000);
  EXPECT_EQ(spans[0].at("args").at("sequence"), 7);
  EXPECT_EQ(spans[0].at("args").at("layer"), 3);
  EXPECT_EQ(spans[1].at("name"), "dispatch");
  EXPECT_EQ(spans[1].at("pid"), 2 + 1);
  EXPECT_EQ(spans[1].at("args").at("bytes"), 1234);
  EXPECT_DOUBLE_EQ(spans[1].at("dur"), 0.001);
  EXPECT_EQ(spans[2].at("pid"), 4 + 1) << "the second timeline has processes of its own";
  EXPECT_EQ(trace.at("traceEvents")[0].at("args").at("name"), "a \"name\"\n: rank 1 (node 1)");
}

TEST(Perfetto, AnEmptyTimelineIsATrace) {
  const Timeline timelines[] = {Timeline{}};
  EXPECT_TRUE(nlohmann::json::parse(perfetto_json(timelines)).at("traceEvents").empty());
}

}  // namespace
}  // namespace ballast::scheduler
