#include "runtime/comm/world.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "build_constants.h"
#include "runtime/comm/local_communicator.h"
#include "runtime/comm/mpi_communicator.h"

namespace ballast::comm {
namespace {

class LocalWorld : public World {
 public:
  Communicator& communicator() override { return *communicator_; }
  void finish() override {}

 private:
  std::unique_ptr<Communicator> communicator_ = std::move(make_local_world(1).front());
};

constexpr Backend kLocal{"local", []() -> std::unique_ptr<World> { return std::make_unique<LocalWorld>(); }};

}  // namespace

std::span<const Backend> backends() {
  if constexpr (build::kMpi) {
    static constexpr std::array kAll{Backend{"mpi", [] { return open_mpi_world(); }}, kLocal};
    return kAll;
  } else {
    static constexpr std::array kAll{kLocal};
    return kAll;
  }
}

std::unique_ptr<World> open_world(std::string_view backend) {
  std::string known;
  for (const Backend& row : backends()) {
    if (row.name == backend) {
      std::unique_ptr<World> world = row.open();
      try {
        check_launcher(backend, world->communicator().size(), [](const char* variable) { return std::getenv(variable); });
      } catch (const LaunchError&) {
        world->finish();  // alone: nobody to wait for, and the process may end like any other
        throw;
      }
      return world;
    }
    known += fmt::format("{}{}", known.empty() ? "" : ", ", row.name);
  }
  throw std::invalid_argument(fmt::format("communicator backend '{}' is unknown; this build has {}", backend, known));
}

void abort_job(int exit_code) {
  if constexpr (build::kMpi) abort_mpi_job(exit_code);
  std::_Exit(exit_code);
}

void check_launcher(std::string_view backend, int world_size, const std::function<const char*(const char*)>& variable) {
  if (world_size != 1) return;
  for (const char* const name : {"OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}) {
    const char* const text = variable(name);
    if (text == nullptr) continue;
    int num_tasks = 0;
    const char* const end = text + std::strlen(text);
    if (std::from_chars(text, end, num_tasks).ptr != end || num_tasks <= 1) return;
    const bool is_slurm = name[0] == 'S';
    throw LaunchError(fmt::format(
        "{}={}, but this process is alone in its world (backend {}): {} separate copies would run, each as rank 0 of "
        "1. Start all ranks by one launcher, `{} -n {} ballast ...`; for one rank on purpose, `mpirun -n 1 ballast ...`",
        name, num_tasks, backend, num_tasks, is_slurm ? "srun --mpi=pmix" : "mpirun", num_tasks));
  }
}

}  // namespace ballast::comm
