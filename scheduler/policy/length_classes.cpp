#include "scheduler/policy/length_classes.h"

#include <algorithm>
#include <limits>

namespace ballast::scheduler {

namespace {

/// Least rounding of the first different lengths in one class, two classes, and so on.
class Rounding {
 public:
  explicit Rounding(std::span<const std::int64_t> lengths) : number_(1, 0), sum_(1, 0) {
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      if (i == 0 || lengths[i] != lengths[i - 1]) {
        length_.push_back(lengths[i]);
        number_.push_back(number_.back());
        sum_.push_back(sum_.back());
      }
      ++number_.back();
      sum_.back() += lengths[i];
    }
    const std::size_t m = length_.size();
    least_.resize(m + 1);
    for (std::size_t end = 1; end <= m; ++end) least_[end] = of_class(0, end);
    first_of_last_.push_back(std::vector<std::int32_t>(m + 1, 0));
  }

  std::size_t num_different() const { return length_.size(); }
  std::size_t num_classes() const { return first_of_last_.size(); }
  std::int64_t num_tokens() const { return sum_.back(); }
  std::int64_t least() const { return least_.back(); }

  void add_class() {
    before_ = least_;
    first_of_last_.emplace_back(length_.size() + 1, 0);
    const std::size_t begin = num_classes();  // every class holds a length
    if (begin <= length_.size()) find(begin, length_.size(), begin - 1, length_.size() - 1);
  }

  /// Where each class begins, ascending.
  std::vector<std::size_t> begins() const {
    std::vector<std::size_t> result;
    std::size_t end = length_.size();
    for (std::size_t c = num_classes(); c-- > 0;) result.push_back(end = first_of_last_[c][end]);
    std::reverse(result.begin(), result.end());
    return result;
  }

  std::int64_t length(std::size_t i) const { return length_[i]; }
  std::int64_t number(std::size_t begin, std::size_t end) const { return number_[end] - number_[begin]; }

 private:
  /// Rounding of different lengths [begin, end) to the first.
  std::int64_t of_class(std::size_t begin, std::size_t end) const {
    return length_[begin] * number(begin, end) - (sum_[end] - sum_[begin]);
  }

  /// Ends [begin, end]: the first length of the last class is in [low, high], as it never falls with the end.
  void find(std::size_t begin, std::size_t end, std::size_t low, std::size_t high) {
    const std::size_t middle = begin + (end - begin) / 2;
    std::int64_t least = std::numeric_limits<std::int64_t>::max();
    std::size_t least_at = low;
    for (std::size_t first = low; first <= std::min(high, middle - 1); ++first) {
      const std::int64_t rounding = before_[first] + of_class(first, middle);
      if (rounding < least) {
        least = rounding;
        least_at = first;
      }
    }
    least_[middle] = least;
    first_of_last_.back()[middle] = static_cast<std::int32_t>(least_at);
    if (middle > begin) find(begin, middle - 1, low, least_at);
    if (middle < end) find(middle + 1, end, least_at, high);
  }

  std::vector<std::int64_t> length_;                      ///< different ones, descending
  std::vector<std::int64_t> number_;                      ///< of lengths up to each different one
  std::vector<std::int64_t> sum_;                         ///< of lengths up to each different one
  std::vector<std::int64_t> least_;                       ///< by end, with the present number of classes
  std::vector<std::int64_t> before_;                      ///< the same with one class less
  std::vector<std::vector<std::int32_t>> first_of_last_;  ///< by class and end: where the last class begins
};

}  // namespace

std::vector<std::int64_t> rounded_to_classes(std::span<const std::int64_t> lengths, int num_classes, std::int64_t most_tokens) {
  std::vector<std::int64_t> result(lengths.begin(), lengths.end());
  if (lengths.empty()) return result;
  Rounding rounding(lengths);
  while (rounding.num_classes() < static_cast<std::size_t>(num_classes) ||
         rounding.num_tokens() + rounding.least() > most_tokens) {
    if (rounding.num_classes() >= std::min<std::size_t>(kMostLengthClasses, rounding.num_different())) return result;
    rounding.add_class();
  }
  std::vector<std::size_t> begins = rounding.begins();
  begins.push_back(rounding.num_different());
  auto at = result.begin();
  for (std::size_t c = 0; c + 1 < begins.size(); ++c) {
    const std::int64_t number = rounding.number(begins[c], begins[c + 1]);
    std::fill_n(at, number, rounding.length(begins[c]));
    at += number;
  }
  return result;
}

}  // namespace ballast::scheduler
