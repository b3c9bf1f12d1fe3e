#pragma once
// The axes of the world: which ranks share what.
#include <memory>

#include "runtime/comm/communicator.h"

namespace ballast::comm {

/// A world of `ep` columns: rank r holds expert shard r % ep.
///   dp      all ranks; every rank computes other tokens
///   near    all ranks again, for messages of attention that stay inside nodes: they do not queue behind those that cross
///   ep      `ep` consecutive ranks, which together hold every expert once; dispatch and combine stay inside
///   replica the ranks that hold the same experts, in order of rank; their expert gradients are summed
class Mesh {
 public:
  /// The number of `near` among the parts of the world, in the order in which they are split off; dp is 0.
  static constexpr int kNearPart = 1;

  /// Splits `world` along both axes; called by all ranks. Keeps a reference to it.
  /// Throws: std::invalid_argument unless ep divides the number of ranks; CommError.
  Mesh(Communicator& world, int ep);

  Communicator& dp() const { return dp_; }
  Communicator& near() const { return *near_; }
  Communicator& ep() const { return *ep_; }
  Communicator& replica() const { return *replica_; }

 private:
  Communicator& dp_;
  std::unique_ptr<Communicator> near_;
  std::unique_ptr<Communicator> ep_;
  std::unique_ptr<Communicator> replica_;
};

/// Throws: std::invalid_argument, with the values that would fit, unless ep >= 1 divides num_ranks.
void check_ep_divides(int num_ranks, int ep);

}  // namespace ballast::comm
