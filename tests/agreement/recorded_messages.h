#pragma once
// What a training run sends, held against what its plans say.
#include <string>

#include "runtime/comm/recording_communicator.h"
#include "tests/agreement/training_trace.h"

namespace ballast::agreement {

/// Trains on `world`, recorded, and compares this rank's messages with the plans' in kind, peer, bytes and order.
/// Returns: the first difference, or nothing.
struct RecordedRun {
  std::string difference;
  std::int64_t num_messages = 0;  ///< of attention, sent or received by this rank
  int num_communicators = 0;      ///< those that were split off, recorded or not
};
RecordedRun train_recorded(comm::Communicator& world, int ep, const TraceOptions& options);

}  // namespace ballast::agreement
