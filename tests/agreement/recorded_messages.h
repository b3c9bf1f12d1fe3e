#pragma once
// What a training run sends, held against what its plans say.
#include <string>

#include "runtime/comm/recording_communicator.h"
#include "tests/agreement/training_trace.h"

namespace ballast::agreement {

struct RecordedRun {
  std::string difference;            ///< the first in what is sent and received inside and between nodes; empty: none
  bool posts_receives_first = true;  ///< all receives of each layer before its first send
  std::int64_t num_messages = 0;     ///< of attention, sent or received by this rank
  int num_communicators = 0;         ///< those that were split off, recorded or not
};
/// Trains on `world`, recorded, and compares this rank's messages with the plans' in kind, peer, bytes and order
/// on each channel.
RecordedRun train_recorded(comm::Communicator& world, int ep, const TraceOptions& options);

}  // namespace ballast::agreement
