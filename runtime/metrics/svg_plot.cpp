#include "runtime/metrics/svg_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "scheduler/trace/html.h"

namespace ballast::metrics {
namespace {

using scheduler::escape_html;

constexpr double kWidth = 560, kHeight = 260, kLeft = 58, kRight = 12, kTop = 30, kBottom = 38;
constexpr std::size_t kMostPoints = 600;
constexpr std::array<const char*, 6> kColours = {"#1f6fb4", "#d1495b", "#2e8b57", "#8e5ea2", "#c77f12", "#5f6b76"};

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool is_empty() const { return !(low <= high); }
};

// Room around the values, so that a flat line has an axis too.
Range with_margin(Range range) {
  const double span = range.high - range.low;
  const double margin = span > 0 ? span * 0.05 : std::max(std::abs(range.high) * 0.05, 1e-12);
  return {range.low - margin, range.high + margin};
}

// Steps of 1, 2 or 5 times a power of ten, about `wanted` of them.
std::vector<double> ticks(const Range& range, int wanted) {
  const double rough = (range.high - range.low) / wanted;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  const double step = power * (rough / power < 1.5 ? 1 : rough / power < 3.5 ? 2 : rough / power < 7.5 ? 5 : 10);
  std::vector<double> out;
  for (double i = std::ceil(range.low / step); i * step <= range.high + step * 1e-9; ++i) out.push_back(i * step);
  return out;
}

std::string tick_label(double value) {
  const double size = std::abs(value);
  if (size >= 1e9) return fmt::format("{:.3g}G", value / 1e9);
  if (size >= 1e6) return fmt::format("{:.3g}M", value / 1e6);
  if (size >= 1e4) return fmt::format("{:.3g}k", value / 1e3);
  return fmt::format("{:.4g}", size < 1e-12 ? 0.0 : value);
}

std::string text_at(double x, double y, const char* anchor, std::string_view text, const char* style = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor, style, escape_html(text));
}

struct Frame {
  Range x, y;
  double at_x(double value) const { return kLeft + (value - x.low) / (x.high - x.low) * (kWidth - kLeft - kRight); }
  double at_y(double value) const { return kHeight - kBottom - (value - y.low) / (y.high - y.low) * (kHeight - kTop - kBottom); }
};

std::string open_svg(const std::string& title) {
  return fmt::format(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\" font-size=\"11\" "
             "font-family=\"sans-serif\" fill=\"#333\">\n",
             kWidth, kHeight, escape_html(title)) +
         text_at(kLeft, 16, "start", title, " font-size=\"13\" font-weight=\"bold\"");
}

std::string x_axis(const Frame& frame, const std::string& label) {
  std::string out;
  for (const double tick : ticks(frame.x, 6)) {
    out += text_at(frame.at_x(tick), kHeight - kBottom + 15, "middle", tick_label(tick));
  }
  return out + text_at((kLeft + kWidth - kRight) / 2, kHeight - 6, "middle", label, " fill=\"#777\"");
}

std::string y_label(const std::string& label) { return text_at(kWidth - kRight, 16, "end", label, " fill=\"#777\""); }

// A run of points drawn as one.
struct Point {
  double x, y, low, high;
};

// Unbroken stretches of a series, thinned to what a screen can show.
std::vector<std::vector<Point>> stretches(const Series& series, bool is_logarithmic) {
  const std::size_t count = std::min(series.x.size(), series.y.size());
  const std::size_t run = std::max<std::size_t>(1, (count + kMostPoints - 1) / kMostPoints);
  std::vector<std::vector<Point>> out(1);
  for (std::size_t begin = 0; begin < count; begin += run) {
    const std::size_t end = std::min(begin + run, count);
    double sum_x = 0, sum_y = 0;
    Range y;
    std::size_t taken = 0;
    for (std::size_t i = begin; i < end; ++i) {
      if (!std::isfinite(series.y[i]) || (is_logarithmic && series.y[i] <= 0)) continue;
      const double value = is_logarithmic ? std::log10(series.y[i]) : series.y[i];
      sum_x += series.x[i];
      sum_y += value;
      y.include(value);
      ++taken;
    }
    if (taken > 0) {
      const auto n = static_cast<double>(taken);
      out.back().push_back({sum_x / n, sum_y / n, y.low, y.high});
    } else if (!out.back().empty()) {
      out.emplace_back();
    }
  }
  return out;
}

std::string path_of(const Frame& frame, const std::vector<Point>& points, const char* colour) {
  std::string line, upper, lower;
  bool has_band = false;
  for (const Point& p : points) {
    line += fmt::format("{:.1f},{:.1f} ", frame.at_x(p.x), frame.at_y(p.y));
    upper += fmt::format("{:.1f},{:.1f} ", frame.at_x(p.x), frame.at_y(p.high));
    lower = fmt::format("{:.1f},{:.1f} ", frame.at_x(p.x), frame.at_y(p.low)) + lower;
    has_band |= p.low < p.high;
  }
  std::string out;
  if (has_band) out += fmt::format("<polygon points=\"{}{}\" fill=\"{}\" fill-opacity=\"0.2\"/>\n", upper, lower, colour);
  if (points.size() == 1) {
    out += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2\" fill=\"{}\"/>\n", frame.at_x(points[0].x),
                       frame.at_y(points[0].y), colour);
  } else {
    out += fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.4\"/>\n", line, colour);
  }
  return out;
}

// White at 1, blue at 0, red at 2 and beyond.
std::string load_colour(double load) {
  if (!std::isfinite(load)) return "#cccccc";
  const double off = std::clamp(load - 1, -1.0, 1.0);
  const auto fade = [&](int full) { return static_cast<int>(std::lround(255 + (full - 255) * std::abs(off))); };
  return off < 0 ? fmt::format("#{:02x}{:02x}{:02x}", fade(0x1f), fade(0x6f), fade(0xb4))
                 : fmt::format("#{:02x}{:02x}{:02x}", fade(0xc0), fade(0x2b), fade(0x2b));
}

}  // namespace

std::string svg(const LinePlot& plot) {
  std::vector<std::vector<std::vector<Point>>> lines;
  Range x, y;
  for (const Series& series : plot.series) {
    lines.push_back(stretches(series, plot.is_y_logarithmic));
    for (const auto& stretch : lines.back()) {
      for (const Point& p : stretch) {
        x.include(p.x);
        y.include(p.low);
        y.include(p.high);
      }
    }
  }
  std::string out = open_svg(plot.title) + y_label(plot.y_label);
  if (x.is_empty()) return out + text_at(kWidth / 2, kHeight / 2, "middle", "no values") + "</svg>\n";

  const Frame frame{x.low < x.high ? x : with_margin(x), with_margin(y)};
  for (const double tick : ticks(frame.y, 5)) {
    out += fmt::format("<line x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"#e4e4e4\"/>\n", kLeft, kWidth - kRight,
                       frame.at_y(tick));
    out += text_at(kLeft - 6, frame.at_y(tick) + 4, "end",
                   plot.is_y_logarithmic ? fmt::format("{:.3g}", std::pow(10, tick)) : tick_label(tick));
  }
  out += x_axis(frame, plot.x_label);
  for (std::size_t s = 0; s < lines.size(); ++s) {
    for (const auto& stretch : lines[s]) {
      if (!stretch.empty()) out += path_of(frame, stretch, kColours[s % kColours.size()]);
    }
  }
  if (plot.series.size() > 1) {
    double right = kLeft + 8;
    for (std::size_t s = 0; s < plot.series.size(); ++s) {
      out += fmt::format("<rect x=\"{:.1f}\" y=\"{}\" width=\"10\" height=\"3\" fill=\"{}\"/>\n", right, kTop - 4,
                         kColours[s % kColours.size()]);
      out += text_at(right + 14, kTop, "start", plot.series[s].label);
      right += 26 + 6.2 * static_cast<double>(plot.series[s].label.size());
    }
  }
  return out + "</svg>\n";
}

std::string svg(const HeatMap& map) {
  std::string out = open_svg(map.title) + y_label(map.y_label);
  const std::size_t num_rows = map.cells.size(), num_columns = map.cells.empty() ? 0 : map.cells.front().size();
  if (num_columns == 0) return out + text_at(kWidth / 2, kHeight / 2, "middle", "no values") + "</svg>\n";

  const Frame frame{{map.x_begin, map.x_end > map.x_begin ? map.x_end : map.x_begin + 1}, {0, 1}};
  const double cell_width = (kWidth - kLeft - kRight) / static_cast<double>(num_columns);
  const double cell_height = (kHeight - kTop - kBottom) / static_cast<double>(num_rows);
  const std::size_t label_every = (num_rows + 15) / 16;
  for (std::size_t r = 0; r < num_rows; ++r) {
    const double top = kTop + cell_height * static_cast<double>(r);
    if (r % label_every == 0) out += text_at(kLeft - 6, top + cell_height / 2 + 4, "end", std::to_string(r));
    for (std::size_t c = 0; c < num_columns; ++c) {
      const double load = map.cells[r][c];
      out += fmt::format(
          "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{:.2f}\" fill=\"{}\"><title>{} {}: {:.3g} of the "
          "mean</title></rect>\n",
          kLeft + cell_width * static_cast<double>(c), top, cell_width + 0.3, cell_height - 1, load_colour(load),
          escape_html(map.y_label), r, load);
    }
  }
  out += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#bbb\"/>\n", kLeft, kTop,
                     kWidth - kLeft - kRight, kHeight - kTop - kBottom);
  return out + x_axis(frame, map.x_label) + "</svg>\n";
}

}  // namespace ballast::metrics
