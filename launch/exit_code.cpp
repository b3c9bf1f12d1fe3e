#include "launch/exit_code.h"

#include <new>
#include <stdexcept>

#include "runtime/checkpoint/durable_file.h"
#include "runtime/checkpoint/load.h"
#include "runtime/checkpoint/publish.h"
#include "runtime/checkpoint/run_folder.h"
#include "runtime/comm/communicator.h"
#include "runtime/data/data_error.h"

namespace ballast::launch {
namespace {

template <class... Errors>
bool is_one_of(const std::exception& error) {
  return (... || (dynamic_cast<const Errors*>(&error) != nullptr));
}

}  // namespace

ExitCode exit_code_of(const std::exception& error) {
  if (is_one_of<std::invalid_argument, checkpoint::RunFolderBusy>(error)) return ExitCode::kUser;
  if (is_one_of<data::DataError>(error)) return ExitCode::kData;
  if (is_one_of<checkpoint::LoadError, checkpoint::NothingToResume, checkpoint::SaveError>(error)) return ExitCode::kCheckpoint;
  if (is_one_of<comm::CommError>(error)) return ExitCode::kPeer;
  // What is left of the world: the launcher, the file system, memory.
  if (is_one_of<std::runtime_error, std::bad_alloc>(error)) return ExitCode::kEnvironment;
  return ExitCode::kBug;
}

}  // namespace ballast::launch
