#pragma once
// How many threads of a job want each core of a machine.
#include "runtime/comm/communicator.h"

namespace ballast::train {

/// Of the machine of this rank.
struct CoreShare {
  int num_ranks = 1;  ///< of the job, on this machine
  int num_threads_per_rank = 1;
  int num_cores = 1;  ///< that a process here may use
  /// Above 1 the ranks take turns, and a step takes longer than the work of its fullest rank.
  double threads_per_core() const { return static_cast<double>(num_ranks) * num_threads_per_rank / num_cores; }
};

/// Collective.
CoreShare core_share(comm::Communicator& world);

}  // namespace ballast::train
