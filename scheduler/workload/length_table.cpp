#include "scheduler/workload/length_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <stdexcept>

#include "scheduler/plan/plan.h"

namespace ballast::scheduler {

namespace {

constexpr std::size_t kMostRows = std::size_t{1} << 24;
constexpr double kTailProbability = 0.999;
/// Draws that a limit rejects before the table is called unfit.
constexpr int kMostRejections = 1'000'000;

template <typename T>
T parse_number(std::string_view text, const std::string& name, int line) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) text.remove_suffix(1);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw std::invalid_argument(fmt::format("{}:{}: '{}' is not a number", name, line, text.substr(0, 40)));
  }
  return value;
}

std::int64_t parse_length(std::string_view text, const std::string& name, int line, std::int64_t smallest) {
  const std::int64_t length = parse_number<std::int64_t>(text, name, line);
  if (length < smallest || length > kMostTokens) {
    throw std::invalid_argument(
        fmt::format("{}:{}: a length of {} tokens; wanted {} to {}", name, line, length, smallest, kMostTokens));
  }
  return length;
}

std::vector<std::string_view> split(std::string_view row) {
  std::vector<std::string_view> cells;
  while (true) {
    const std::size_t comma = row.find(',');
    cells.push_back(row.substr(0, comma));
    if (comma == std::string_view::npos) return cells;
    row.remove_prefix(comma + 1);
  }
}

[[noreturn]] void refuse_columns(std::string_view header, const std::vector<std::string_view>& columns, const std::string& name,
                                 int line) {
  const bool is_parameters = std::find(columns.begin(), columns.end(), "sigma") != columns.end();
  throw std::invalid_argument(fmt::format(
      "{}:{}: unknown columns '{}'; known are bin_lo_tokens,bin_hi_tokens,... (a histogram) and quantile,length_tokens; a "
      "list has one column{}",
      name, line, header.substr(0, 60),
      is_parameters ? ". These are parameters of distributions, from which nothing is drawn: name the quantiles of a row, a file "
                      "<row>_quantiles.csv beside this one"
                    : ""));
}

/// Numbers that depend on the seed alone: additive sequence, mixed by multiply and shift.
class Random {
 public:
  /// The seed is mixed first: sequences of neighbouring seeds would otherwise be each other's, shifted by one.
  explicit Random(std::uint64_t seed) : state_(mixed(seed + 0x632be59bd9b4e019u)) {}
  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15u;
    return mixed(state_);
  }
  /// Uniform in [0, 1).
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  static std::uint64_t mixed(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }
  std::uint64_t state_;
};

double interpolate(const std::vector<double>& values, double position) {
  const double index = position * static_cast<double>(values.size() - 1);
  const std::size_t below = std::min(static_cast<std::size_t>(index), values.size() - 2);
  return values[below] + (index - static_cast<double>(below)) * (values[below + 1] - values[below]);
}

}  // namespace

LengthTable parse_length_table(std::string_view text, const std::string& name) {
  enum class Kind { kUnknown, kHistogram, kQuantiles, kList } kind = Kind::kUnknown;
  LengthTable table;
  int line = 0;
  std::size_t num_rows = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view row = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    ++line;
    if (!row.empty() && row.back() == '\r') row.remove_suffix(1);
    if (row.empty() || row.front() == '#') continue;
    if (++num_rows > kMostRows) throw std::invalid_argument(fmt::format("{}:{}: more than {} rows", name, line, kMostRows));
    const std::vector<std::string_view> cells = split(row);
    if (kind == Kind::kUnknown) {
      const bool is_header = (row.front() >= 'a' && row.front() <= 'z') || (row.front() >= 'A' && row.front() <= 'Z');
      kind = cells[0] == "bin_lo_tokens" ? Kind::kHistogram : cells[0] == "quantile" ? Kind::kQuantiles : Kind::kList;
      if (is_header && kind == Kind::kList && cells.size() > 1) refuse_columns(row, cells, name, line);
      if (is_header) continue;
    }
    if (kind == Kind::kHistogram) {
      if (cells.size() < 3)
        throw std::invalid_argument(fmt::format("{}:{}: {} cells; wanted begin, end, fraction", name, line, cells.size()));
      LengthBin bin;
      bin.begin = std::max<std::int64_t>(1, parse_length(cells[0], name, line, 0));
      bin.end = parse_length(cells[1], name, line, 1);
      bin.weight = parse_number<double>(cells[2], name, line);
      if (bin.end <= bin.begin || !(bin.weight >= 0)) {
        throw std::invalid_argument(
            fmt::format("{}:{}: bin [{}, {}) of weight {} is empty", name, line, bin.begin, bin.end, bin.weight));
      }
      table.bins.push_back(bin);
    } else if (kind == Kind::kQuantiles) {
      if (cells.size() < 2)
        throw std::invalid_argument(fmt::format("{}:{}: {} cells; wanted quantile, length", name, line, cells.size()));
      const double length = static_cast<double>(parse_length(cells[1], name, line, 1));
      if (!table.quantiles.empty() && length < table.quantiles.back()) {
        throw std::invalid_argument(
            fmt::format("{}:{}: quantiles fall from {} to {}", name, line, table.quantiles.back(), length));
      }
      table.quantiles.push_back(length);
    } else {
      if (cells.size() > 1)
        throw std::invalid_argument(fmt::format("{}:{}: {} cells; a list has one length per line", name, line, cells.size()));
      table.lengths.push_back(parse_length(cells[0], name, line, 1));
    }
  }
  if (kind == Kind::kQuantiles && table.quantiles.size() < 2)
    throw std::invalid_argument(fmt::format("{}: fewer than two quantiles", name));
  if (table.bins.empty() && table.quantiles.empty() && table.lengths.empty())
    throw std::invalid_argument(fmt::format("{}: no lengths", name));
  return table;
}

void add_tail(LengthTable& table, const LengthTable& tail) {
  if (table.quantiles.empty() || tail.quantiles.empty()) {
    throw std::invalid_argument("length tables: a tail belongs to a quantile table and is one itself");
  }
  table.tail = tail.quantiles;
}

std::vector<std::int64_t> draw_batch(const LengthTable& table, const BatchRequest& request) {
  if (!table.lengths.empty()) return table.lengths;
  Random random(request.seed);
  const std::int64_t limit = request.longest_tokens > 0 ? request.longest_tokens : kMostTokens;
  std::vector<LengthBin> bins;
  std::vector<double> upto;
  if (table.quantiles.empty()) {
    double sum = 0;
    for (LengthBin bin : table.bins) {
      if (request.histogram_limit > 0 && bin.begin >= request.histogram_limit) continue;
      if (request.histogram_limit > 0) bin.end = std::min(bin.end, request.histogram_limit);
      sum += bin.weight;
      bins.push_back(bin);
      upto.push_back(sum);
    }
    if (sum <= 0) throw std::invalid_argument(fmt::format("length table: no length below {}", request.histogram_limit));
  }
  std::vector<std::int64_t> lengths;
  std::int64_t left = request.num_tokens;
  int rejected = 0;
  while (left > 0) {
    std::int64_t length = 0;
    if (table.quantiles.empty()) {
      const double mark = random.uniform() * upto.back();
      const std::size_t chosen =
          std::min<std::size_t>(std::upper_bound(upto.begin(), upto.end(), mark) - upto.begin(), bins.size() - 1);
      const LengthBin& bin = bins[chosen];
      length = bin.begin + static_cast<std::int64_t>(random.uniform() * static_cast<double>(bin.end - bin.begin));
    } else {
      const double u = random.uniform();
      const double value = u > kTailProbability && !table.tail.empty()
                               ? interpolate(table.tail, (u - kTailProbability) / (1 - kTailProbability))
                               : interpolate(table.quantiles, u);
      length = static_cast<std::int64_t>(value + 0.5);
    }
    if (length > limit) {
      if (++rejected > kMostRejections)
        throw std::invalid_argument(fmt::format("length table: nearly every length is above {} tokens", limit));
      continue;
    }
    lengths.push_back(std::min(length, left));
    left -= lengths.back();
  }
  return lengths;
}

}  // namespace ballast::scheduler
