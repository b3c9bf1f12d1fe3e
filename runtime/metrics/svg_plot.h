#pragma once
// Plots as SVG text: no script, no font, no file beside them.
#include <string>
#include <vector>

namespace ballast::metrics {

struct Series {
  std::string label;
  std::vector<double> x, y;  ///< of equal length; a value that is not finite interrupts the line
};

struct LinePlot {
  std::string title, x_label, y_label;
  std::vector<Series> series;
  bool is_y_logarithmic = false;  ///< values that are not above zero interrupt the line
};

/// A grid of loads around 1: white = the mean, blue = less, red = more, full colour at 0 and 2.
struct HeatMap {
  std::string title, x_label, y_label;
  double x_begin = 0, x_end = 1;           ///< what the columns span
  std::vector<std::vector<double>> cells;  ///< [row][column]; rows of equal length; not finite: grey
};

/// The plot as one <svg> element. More than 600 points of a series are drawn as means of equal runs of points, over a band from
/// the least to the greatest of each run.
std::string svg(const LinePlot& plot);
std::string svg(const HeatMap& map);

}  // namespace ballast::metrics
