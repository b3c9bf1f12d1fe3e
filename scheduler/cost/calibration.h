#pragma once
// Cost coefficients from measured points, by least squares of relative errors: a point of a microsecond counts as much as one of
// a second.
#include <cstddef>
#include <cstdint>
#include <span>

#include "scheduler/cost/model_shape.h"
#include "scheduler/topology/topology.h"

namespace ballast::scheduler {

/// A measured pass of some sequences on one rank, forward and backward, all layers.
struct WorkPoint {
  std::int64_t pairs = 0;  ///< one query on one key, summed over the sequences
  std::int64_t tokens = 0;
  double seconds = 0;
};

/// A measured message.
struct MessagePoint {
  std::int64_t bytes = 0;
  double seconds = 0;
};

/// How far the fit is from its points, in parts of what was measured.
struct FitError {
  double rms_relative = 0;
  double worst_relative = 0;    ///< of the worst point: fitted over measured, minus 1
  std::size_t worst_point = 0;  ///< first one, if several are equally bad
};

/// seconds = pair_seconds * pairs + token_seconds * tokens + fixed_seconds.
struct WorkFit {
  double pair_seconds = 0;
  double token_seconds = 0;
  double fixed_seconds = 0;  ///< not negative
  FitError error;
};

/// seconds = bytes / bytes_per_second + message_seconds.
struct LinkFit {
  double bytes_per_second = 0;
  double message_seconds = 0;  ///< not negative
  FitError error;
};

/// Input: at least three points whose pairs, tokens and number are not in proportion.
/// Throws: std::invalid_argument, with the numbers, for fewer points, a point without positive finite time or with negative
/// counts, points that do not tell the coefficients apart, and times that do not grow with pairs and tokens.
WorkFit fit_work(std::span<const WorkPoint> points);

/// Input: at least two points of different sizes. Throws: std::invalid_argument as fit_work.
LinkFit fit_link(std::span<const MessagePoint> points);

/// Sets the rates of the topology so that cost_rates() of this model gives the fitted seconds. Fixed seconds have no place there.
void set_rates(Topology& topology, const ModelShape& model, const WorkFit& fit);

}  // namespace ballast::scheduler
