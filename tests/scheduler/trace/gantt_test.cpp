// Charts share a scale, draw what is seen, and say what they are.
#include "scheduler/trace/gantt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

namespace ballast::scheduler {
namespace {

using testing::HasSubstr;

Span compute(int rank, double begin, double end, Work work = Work::kAttention) {
  Span span;
  span.owner = span.rank = rank;
  span.work = work;
  span.begin_seconds = begin;
  span.end_seconds = end;
  return span;
}

GanttChart chart(int num_ranks, std::vector<Span> spans) {
  GanttChart result;
  result.timeline.name = "one <policy>";
  result.timeline.node_of_rank.assign(static_cast<std::size_t>(num_ranks), 0);
  result.timeline.node_of_nic_group = {0};
  result.timeline.spans = std::move(spans);
  result.facts = {{"step", "1 & 2"}};
  return result;
}

std::vector<double> widths(const std::string& html) {
  static const std::regex rect("<rect [^>]*width=\"([0-9.]+)\"");
  std::vector<double> result;
  for (std::sregex_iterator it(html.begin(), html.end(), rect), end; it != end; ++it) result.push_back(std::stod((*it)[1]));
  return result;
}

TEST(Gantt, ChartsShareTheirScale) {
  const GanttChart charts[] = {chart(1, {compute(0, 0, 1)}), chart(1, {compute(0, 0, 0.25)})};
  const std::string html = gantt_html("a & b", charts);
  const std::vector<double> drawn = widths(html);
  ASSERT_EQ(drawn.size(), 2u);
  EXPECT_NEAR(drawn[0] / drawn[1], 4, 0.01);
  EXPECT_THAT(html, HasSubstr("<h1>a &amp; b</h1>"));
  EXPECT_THAT(html, HasSubstr("one &lt;policy&gt;"));
  EXPECT_THAT(html, HasSubstr("<td>1 &amp; 2</td>"));
}

TEST(Gantt, WhatTouchesIsOne) {
  const GanttChart charts[] = {chart(2, {compute(0, 0, 0.1), compute(0, 0.1, 0.2), compute(0, 0.2, 0.3, Work::kHead),
                                         compute(0, 0.6, 1), compute(1, 0.1, 0.2)})};
  EXPECT_EQ(widths(gantt_html("", charts)).size(), 4u);
}

TEST(Gantt, MessagesAreDrawnAtCards) {
  Span message = compute(0, 0, 1, Work::kRotate);
  message.lane = Lane::kNicSend;
  Span inside = message;
  inside.lane = Lane::kNodeSend;
  const GanttChart charts[] = {chart(1, {message, inside})};
  const std::string html = gantt_html("", charts);
  EXPECT_EQ(widths(html).size(), 1u);
  EXPECT_THAT(html, HasSubstr("rotate keys forward"));
}

TEST(Gantt, OfManyRanksTheFirstAreDrawn) {
  std::vector<Span> spans;
  for (int r = 0; r < 100; ++r) spans.push_back(compute(r, 0, 1));
  const GanttChart charts[] = {chart(100, spans)};
  EXPECT_EQ(widths(gantt_html("", charts)).size(), 64u);
}

}  // namespace
}  // namespace ballast::scheduler
