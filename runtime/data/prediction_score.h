#pragma once
// How well targets were predicted, in the units that people compare.
#include <cmath>
#include <cstdint>
#include <numbers>

namespace ballast::data {

/// Sums over targets. Special tokens are targets whose loss counts, but they are no bytes.
struct PredictionScore {
  double nats = 0;  // sum of -ln p(target)
  std::int64_t num_targets = 0;
  std::int64_t num_bytes = 0;

  PredictionScore& operator+=(const PredictionScore& other) {
    nats += other.nats;
    num_targets += other.num_targets;
    num_bytes += other.num_bytes;
    return *this;
  }
  /// Not a number when there are no targets.
  double nats_per_token() const { return nats / static_cast<double>(num_targets); }
  /// Infinite when the targets stand for no byte.
  double bits_per_byte() const { return nats / std::numbers::ln2 / static_cast<double>(num_bytes); }
};

}  // namespace ballast::data
