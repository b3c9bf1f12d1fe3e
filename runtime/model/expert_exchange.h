#pragma once
// Where each routed row travels: from the rank of its token to the rank of its expert, and back.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/comm/communicator.h"
#include "scheduler/plan/plan.h"

namespace ballast::model {

/// The routed rows of one layer and micro-batch as one rank of the `ep` group sees them; S = rows that are computed here.
/// Rows leave a rank sorted by expert, then token. Every rank derives this alone from the assignment of all tokens;
/// nothing is probed.
struct ExpertExchange {
  std::vector<scheduler::Transfer> dispatch;  ///< over the ep group: rows from the rank of the token to that of the expert;
                                              ///< combine is the reverse
  at::Tensor by_expert_S;  ///< int64: received rows in the order of the experts held here; undefined if the same
  at::Tensor by_source_S;  ///< int64: the inverse, back to the order of receipt; undefined if the same
  std::vector<std::int64_t> expert_offsets;  ///< borders of each expert held here in the expert order
};

/// Derives the exchange as `ep_rank` sees it.
/// Input: expert_NK, the experts of all N tokens of the global micro-batch; global_row[i], the tokens of ep rank i.
ExpertExchange expert_exchange(const at::Tensor& expert_NK, std::span<const std::vector<std::int64_t>> global_row, int ep_rank,
                               std::int64_t num_experts);

/// An exchange of rows [_, D] in flight.
class RowsInFlight {
 public:
  RowsInFlight(comm::Communicator& ep, std::span<const scheduler::Transfer> transfers, at::Tensor rows);
  /// True when the rows are there.
  bool poll() { return pending_.poll(); }
  /// Waits. Returns: the received rows, in order of their source.
  at::Tensor wait();

 private:
  at::Tensor sent_, received_;
  comm::Pending pending_;
};

}  // namespace ballast::model
