#pragma once
// The attention messages of a whole step as one rank starts them: what a run of the plan sends, and what its recording shows.
#include <cstdint>
#include <vector>

#include "scheduler/plan/expand.h"

namespace ballast::scheduler {

/// One message to or from `peer`.
struct PeerBytes {
  int peer = 0;
  std::int64_t num_bytes = 0;
  bool operator==(const PeerBytes&) const = default;
};

/// The messages of one exchange of a rank, and which it is.
struct ExchangeMessages {
  int micro_batch = 0;
  Pass pass = Pass::kForward;
  int layer = 0;
  Stage stage = Stage::kDispatch;
  int queue = 0;
  int round = 0;
  std::vector<PeerBytes> sends;     ///< by peer
  std::vector<PeerBytes> receives;  ///< by peer
  bool is_cluster = false;          ///< of a queue of the cluster zone
  bool operator==(const ExchangeMessages&) const = default;
};

/// Bytes of one row of a parcel.
struct RowBytes {
  std::int64_t row = 0;
  std::int64_t gradient_row = 0;  ///< of key and value gradients, which are sums in float32 or wider
};

/// Walks through `rank`'s program; a forward pass goes up the layers, a backward pass down. Exchanges in which the rank sends and
/// receives nothing but copies to itself are left out.
/// Input: a valid plan. Cost: layers * expansion of the rank's part of every micro-batch.
std::vector<ExchangeMessages> attention_messages(const Plan& plan, int rank, HeadCounts heads,
                                                 const std::vector<int>& node_of_rank, RowBytes bytes);

/// "kDispatch" as it is written in messages for people: "dispatch", "rotate", "rotate gradients", "return".
const char* name(Stage stage);
/// "forward" or "backward".
const char* name(Pass pass);

}  // namespace ballast::scheduler
