#pragma once
// How a process enters the world of ranks, and how it leaves.
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "runtime/comm/communicator.h"

namespace ballast::comm {

/// This process among the ranks of its job. At most one at a time.
class World {
 public:
  /// Without finish(): leaves as after a failure, without waiting for anybody. The job must then end by abort_job().
  virtual ~World() = default;
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  virtual Communicator& communicator() = 0;
  /// Leaves in order, together with all ranks. No communicator may be used afterwards.
  /// Throws: CommError when a rank does not come within the deadline.
  virtual void finish() = 0;

 protected:
  World() = default;
};

/// A row of the table of backends.
struct Backend {
  const char* name;
  std::unique_ptr<World> (*open)();
};

/// The backends of this build, the default one first: "mpi" (ranks are processes, started by mpirun or srun) where MPI was
/// found, and "local" (this process alone).
std::span<const Backend> backends();

/// Enters the world.
/// Throws: std::invalid_argument for an unknown name; LaunchError; CommError.
std::unique_ptr<World> open_world(std::string_view backend);

/// Ends the processes of all ranks with `exit_code`, now, without unwinding. Works from any thread and while peers are stopped.
[[noreturn]] void abort_job(int exit_code);

/// The launcher started several tasks, and each of them is a world of its own.
class LaunchError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Compares the size of the world with what the launcher's variables say: OMPI_COMM_WORLD_SIZE, then SLURM_STEP_NUM_TASKS, then
/// SLURM_NTASKS. `variable` looks one up; nullptr where it is not set.
/// Throws: LaunchError, with the command line that works, when the world has one rank and the launcher started more.
void check_launcher(std::string_view backend, int world_size, const std::function<const char*(const char*)>& variable);

}  // namespace ballast::comm
