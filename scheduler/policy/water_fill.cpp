#include "scheduler/policy/water_fill.h"

#include <algorithm>
#include <tuple>

namespace ballast::scheduler {

Poured pour(double amount, std::span<const double> contents, std::span<const double> widths, std::span<const double> rooms) {
  const std::size_t n = contents.size();
  struct Event {
    double level;
    std::size_t vessel;
    double width;  // positive: the vessel begins to fill; negative: it is full
  };
  std::vector<Event> events;
  events.reserve(2 * n);
  for (std::size_t i = 0; i < n; ++i) {
    if (rooms[i] <= 0) continue;
    events.push_back({contents[i] / widths[i], i, widths[i]});
    events.push_back({(contents[i] + rooms[i]) / widths[i], i, -widths[i]});
  }
  std::sort(events.begin(), events.end(), [](const Event& a, const Event& b) {
    return std::tie(a.level, a.vessel, b.width) < std::tie(b.level, b.vessel, a.width);
  });
  Poured result;
  result.added.assign(n, 0.0);
  double width = 0;
  double left = amount;
  double level = events.empty() ? 0 : events.front().level;
  for (const Event& event : events) {
    const double step = (event.level - level) * width;
    if (width > 0 && step >= left) break;
    left -= step;
    level = event.level;
    width += event.width;
  }
  double sum = 0;
  if (width > 0 && left > 0) level += left / width;
  for (std::size_t i = 0; i < n; ++i) {
    if (rooms[i] <= 0) continue;
    result.added[i] = std::clamp(level * widths[i] - contents[i], 0.0, rooms[i]);
    sum += result.added[i];
  }
  result.level = level;
  result.left_over = amount > sum ? amount - sum : 0;
  return result;
}

}  // namespace ballast::scheduler
