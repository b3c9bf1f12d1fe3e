#pragma once
// Distributions of sequence lengths, and batches drawn from them.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ballast::scheduler {

/// A piecewise uniform distribution: with probability proportional to `weight` a length of [begin, end).
struct LengthBin {
  std::int64_t begin = 1;
  std::int64_t end = 2;
  double weight = 0;
};

/// Either a distribution or a plain list of lengths.
struct LengthTable {
  std::vector<LengthBin> bins;        ///< of a histogram
  std::vector<std::int64_t> lengths;  ///< of a list
  std::vector<double> quantiles;      ///< of a quantile table: lengths at equally spaced probabilities 0..1
  std::vector<double> tail;           ///< its top 0.1 percent, equally spaced; empty: the last quantile step is all there is
};

/// Reads a table: `#` lines are remarks; a header row names the columns. `bin_lo_tokens,bin_hi_tokens,...` is a histogram,
/// `quantile,length_tokens` a quantile table, anything else (header optional) a list with one length per line.
/// Input: at most 2^24 rows; lengths 1 to kMostTokens (plan.h; 0 only as the begin of a bin, read as 1).
/// Throws: std::invalid_argument with `name`:line.
/// Several columns that are neither of the first two are refused, not read as a list.
LengthTable parse_length_table(std::string_view text, const std::string& name);

/// Adds the top 0.1 percent to a quantile table. Throws: std::invalid_argument if either is not one.
void add_tail(LengthTable& table, const LengthTable& tail);

/// What to draw.
struct BatchRequest {
  std::int64_t num_tokens = 0;       ///< exactly; the last sequence is cut to fit
  std::int64_t longest_tokens = 0;   ///< longer draws are skipped; 0: no limit
  std::int64_t histogram_limit = 0;  ///< bins that begin here or above are dropped and the last one ends here; 0: none
  std::uint64_t seed = 0;
};

/// Lengths drawn from a distribution until they sum to num_tokens, or the list itself.
/// Deterministic: a pure function of the arguments, the same on every machine.
/// Throws: std::invalid_argument if no bin is left under the limits.
std::vector<std::int64_t> draw_batch(const LengthTable& table, const BatchRequest& request);

}  // namespace ballast::scheduler
