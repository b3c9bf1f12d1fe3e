#pragma once

namespace ballast::scheduler {

/// What FlexSP fitted to its runs: time of a step is square * s^2 + token * s for each sequence of s tokens, over the
/// ranks that share it. Source: arXiv 2412.01523.
struct PublishedCost {
  const char* model;
  double square_milliseconds;
  double token_milliseconds;
};

inline constexpr PublishedCost kFlexsp7b{"7B", 5.128e-6, 0.1839576};
inline constexpr PublishedCost kFlexsp13b{"13B", 9.2852e-6, 0.3060189};
inline constexpr PublishedCost kFlexsp30b{"30B", 15.4262e-6, 0.8035742};

}  // namespace ballast::scheduler
