#pragma once
// Ranks are processes of an MPI job. This file's .cpp is the only one that includes mpi.h.
#include <cstdint>
#include <memory>
#include <string>

#include "runtime/comm/world.h"

namespace ballast::comm {

struct MpiOptions {
  /// Larger messages travel in pieces: MPI counts bytes in 31 bits.
  std::int64_t max_message_bytes = std::int64_t{1} << 30;
  /// all_reduce gathers everything everywhere up to this size, and reduces in pieces above it. Equal on all ranks.
  std::int64_t max_gathered_bytes = 16 * 1024;
};

/// Initialises MPI and enters its world.
///
/// Every call is made of point-to-point messages on one MPI communicator, told apart by tags (communicator, call, stage), because
/// MPI promises no order of summation, has no split with a deadline, and cannot tell which rank a collective still waits for.
/// Waiting yields the core, then sleeps. After a deadline has passed no MPI function is called any more (it could write
/// into memory that the caller has freed): every call throws, and the process ends by abort_job().
/// Throws: CommError when the library does not offer what is needed.
std::unique_ptr<World> open_mpi_world(const MpiOptions& options = {});

/// What the loaded MPI library says of itself: "Open MPI v4.1.4, package: ...". Needs no world.
std::string mpi_library_version();

/// MPI_Abort where MPI is running; returns where it is not.
void abort_mpi_job(int exit_code);

}  // namespace ballast::comm
