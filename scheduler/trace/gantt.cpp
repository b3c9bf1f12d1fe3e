#include "scheduler/trace/gantt.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <tuple>

#include "scheduler/trace/html.h"
#include "scheduler/trace/perfetto.h"

namespace ballast::scheduler {

namespace {

constexpr int kMostRanks = 64;
constexpr double kWidth = 900, kLabel = 78, kRow = 11, kNicRow = 6, kGap = 8, kTop = 20;
constexpr std::array<const char*, 9> kColors = {"#9ecae1", "#4292c6", "#08519c", "#c6dbef", "#fd8d3c",
                                                "#74c476", "#238b45", "#006d2c", "#9e9ac8"};

constexpr const char* kHead = R"(<!doctype html>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font-family: sans-serif; color: #222; margin: 1em; }
h2 { font-size: 1em; margin: 0.3em 0; }
.charts { display: flex; gap: 1em; align-items: flex-start; }
.charts > div { flex: 1; min-width: 0; }
svg { width: 100%; height: auto; background: #fafafa; }
table { font-size: 0.85em; border-collapse: collapse; }
td { padding: 1px 1em 1px 0; }
.legend span { display: inline-block; margin-right: 1.2em; font-size: 0.85em; }
.legend i { display: inline-block; width: 1em; height: 0.8em; margin-right: 0.3em; }
</style>
)";

double end_of(const Timeline& timeline) {
  double end = 0;
  for (const Span& span : timeline.spans) end = std::max(end, span.end_seconds);
  return end;
}

/// A row of a chart: everything that one thing does.
struct Row {
  double y = 0;
  double height = kRow;
  std::vector<const Span*> spans;
};

class Chart {
 public:
  Chart(const Timeline& timeline, double longest) : timeline_(timeline), scale_((kWidth - kLabel) / std::max(longest, 1e-12)) {
    num_ranks_ = std::min<int>(kMostRanks, static_cast<int>(timeline.node_of_rank.size()));
    place_rows();
    for (const Span& span : timeline.spans) {
      if (Row* row = row_of(span)) row->spans.push_back(&span);
    }
  }

  std::string svg() {
    for (Row& row : compute_) draw(row);
    for (std::array<Row, 2>& rows : cards_) {
      for (Row& row : rows) draw(row);
    }
    return fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {:.0f}\" font-size=\"8\" role=\"img\">\n{}{}</svg>\n", kWidth,
        height_, axis(), body_);
  }

 private:
  void place_rows() {
    compute_.resize(static_cast<std::size_t>(num_ranks_));
    cards_.resize(timeline_.node_of_nic_group.size());
    double y = kTop;
    for (int r = 0; r < num_ranks_;) {
      const int node = timeline_.node_of_rank[r];
      text(2, y + kRow - 2, fmt::format("node {}", node));
      for (; r < num_ranks_ && timeline_.node_of_rank[r] == node; ++r, y += kRow) {
        compute_[r].y = y;
        text(38, y + kRow - 2, fmt::format("rank {}", r));
      }
      for (std::size_t g = 0; g < cards_.size(); ++g) {
        if (timeline_.node_of_nic_group[g] != node) continue;
        for (Row& row : cards_[g]) {
          row.y = y;
          row.height = kNicRow;
          y += kNicRow;
        }
        text(38, y - kNicRow + 2, fmt::format("cards {}", g));
      }
      y += kGap;
    }
    height_ = y;
  }

  Row* row_of(const Span& span) {
    switch (span.lane) {
      case Lane::kCompute:
        return span.owner < num_ranks_ ? &compute_[span.owner] : nullptr;
      case Lane::kNicSend:
      case Lane::kNicReceive: {
        Row& row = cards_[span.owner][span.lane == Lane::kNicSend ? 0 : 1];
        return row.y > 0 ? &row : nullptr;
      }
      default:
        return nullptr;
    }
  }

  void draw(Row& row) {
    if (row.y <= 0) return;
    std::sort(row.spans.begin(), row.spans.end(), [](const Span* a, const Span* b) {
      return std::tie(a->begin_seconds, a->end_seconds) < std::tie(b->begin_seconds, b->end_seconds);
    });
    const double pixel = 0.5 / scale_;
    for (std::size_t first = 0, last = 0; first < row.spans.size(); first = last) {
      const Span& span = *row.spans[first];
      double end = span.end_seconds;
      for (last = first + 1; last < row.spans.size(); ++last) {
        const Span& next = *row.spans[last];
        if (next.work != span.work || next.pass != span.pass || next.begin_seconds > end + pixel) break;
        end = std::max(end, next.end_seconds);
      }
      fmt::format_to(
          std::back_inserter(body_),
          "<rect x=\"{:.2f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{:.1f}\" fill=\"{}\"><title>{} {}, layer {}: {:.3f} to "
          "{:.3f} ms</title></rect>\n",
          kLabel + scale_ * span.begin_seconds, row.y, std::max(0.3, scale_ * (end - span.begin_seconds)), row.height - 1,
          kColors[static_cast<std::size_t>(span.work)], name(span.work), span.pass == Pass::kForward ? "forward" : "backward",
          span.layer, 1e3 * span.begin_seconds, 1e3 * end);
    }
  }

  void text(double x, double y, const std::string& value) {
    fmt::format_to(std::back_inserter(body_), "<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", x, y, value);
  }

  std::string axis() const {
    const double seconds = (kWidth - kLabel) / scale_;
    double step = 1e-9;  // 1, 2 or 5 times a power of ten, at most ten of them
    for (int i = 0; seconds / step > 10; ++i) step *= i % 3 == 1 ? 2.5 : 2;
    std::string out;
    for (int i = 0; i * step <= seconds; ++i) {
      const double x = kLabel + scale_ * i * step;
      fmt::format_to(
          std::back_inserter(out),
          "<line x1=\"{0:.1f}\" y1=\"{1}\" x2=\"{0:.1f}\" y2=\"{2:.0f}\" stroke=\"#ddd\"/><text x=\"{0:.1f}\" y=\"{3}\" "
          "text-anchor=\"middle\">{4:g} ms</text>\n",
          x, kTop - 6, height_, kTop - 10, 1e3 * i * step);
    }
    return out;
  }

  const Timeline& timeline_;
  double scale_;
  int num_ranks_ = 0;
  double height_ = 0;
  std::vector<Row> compute_;
  std::vector<std::array<Row, 2>> cards_;  ///< sending, receiving
  std::string body_;
};

}  // namespace

std::string gantt_html(const std::string& title, std::span<const GanttChart> charts) {
  double longest = 0;
  for (const GanttChart& chart : charts) longest = std::max(longest, end_of(chart.timeline));
  std::string out =
      fmt::format("{}<title>{}</title>\n<h1>{}</h1>\n<p class=\"legend\">", kHead, escape_html(title), escape_html(title));
  for (std::size_t w = 0; w < kColors.size(); ++w) {
    out += fmt::format("<span><i style=\"background:{}\"></i>{}</span>", kColors[w], name(static_cast<Work>(w)));
  }
  out += "</p>\n<div class=\"charts\">\n";
  for (const GanttChart& chart : charts) {
    const std::string drawing = chart.timeline.node_of_rank.empty() ? "" : Chart(chart.timeline, longest).svg();
    out += fmt::format("<div>\n<h2>{}</h2>\n{}<table>\n", escape_html(chart.timeline.name), drawing);
    for (const auto& [key, value] : chart.facts) {
      out += fmt::format("<tr><td>{}</td><td>{}</td></tr>\n", escape_html(key), escape_html(value));
    }
    out += "</table>\n</div>\n";
  }
  return out + "</div>\n";
}

}  // namespace ballast::scheduler
