#pragma once
// The world of a *_mpi_test. Every rank runs the same tests in the same order.
#include "runtime/comm/communicator.h"

namespace ballast::support {

/// All ranks that mpirun started. Its deadline is a minute.
comm::Communicator& mpi_world();

}  // namespace ballast::support
