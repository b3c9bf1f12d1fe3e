// ballast doctor: what this machine can do, and what to change.
#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "build_constants.h"
#include "launch/exit_code.h"
#include "launch/host_checks.h"
#include "launch/runtime_commands.h"
#include "runtime/comm/mpi_communicator.h"
#include "runtime/comm/world.h"
#include "runtime/train/torch_library.h"

namespace ballast::launch {
namespace {

Check build_check() {
  return {"build.ballast",
          CheckStatus::kOk,
          fmt::format("{} ({}), {}, {}, CUDA {}", build::kVersion, build::kCommit, build::kBuildType, build::kCompiler,
                      build::kCuda ? "on" : "off"),
          "any",
          {}};
}

Check torch_check() {
  const train::TorchLibrary library = train::loaded_torch_library();
  Check check{"build.libtorch",
              CheckStatus::kOk,
              fmt::format("{} in {}, {}, {} threads", library.version, library.folder, library.capability, library.num_threads),
              fmt::format("{}, as at build time", build::kTorchVersion),
              {}};
  if (library.version.substr(0, library.version.find('+')) != build::kTorchVersion) {
    check.status = CheckStatus::kFail;
    check.advice = "run launch/setup.sh and build again";
  }
  return check;
}

/// Text of a version up to the package's details: "Open MPI v4.1.4".
std::string short_version(const std::string& version) { return version.substr(0, version.find(',')); }

/// First line that a program prints, or nothing.
std::string first_line_of(const char* command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command, "r"), pclose);
  std::array<char, 256> line{};
  if (!pipe || !fgets(line.data(), line.size(), pipe.get())) return {};
  const std::string text(line.data());
  return text.substr(0, text.find('\n'));
}

std::vector<Check> mpi_checks() {
  const std::string loaded = short_version(comm::mpi_library_version());
  const std::string compiled = short_version(build::kMpiVersion);
  Check library{"mpi.library", CheckStatus::kOk, loaded, fmt::format("{}, as at build time", compiled), {}};
  if (loaded != compiled) {
    library.status = CheckStatus::kFail;
    library.advice = "build again with this MPI, or put the other one first in LD_LIBRARY_PATH";
  }

  // "mpirun (Open MPI) 4.1.4" starts the library "Open MPI v4.1.4".
  const std::string number = loaded.substr(loaded.find_first_of("0123456789"));
  const std::string program = first_line_of("timeout 3 mpirun --version 2>/dev/null");
  Check launcher{
      "mpi.mpirun", CheckStatus::kOk, program.empty() ? "no mpirun on PATH" : program, fmt::format("that of {}", loaded), {}};
  if (program.empty()) {
    launcher.status = CheckStatus::kWarn;
    launcher.advice = "one rank only, or ranks started by srun --mpi=pmix; otherwise install openmpi-bin";
  } else if (!program.ends_with(number)) {
    launcher.status = CheckStatus::kFail;
    launcher.advice = "each rank would be alone in its world; put the mpirun of the same MPI first in PATH";
  }

  Check singleton{
      "mpi.launcher", CheckStatus::kOk, "no launcher started this process", "one world for all tasks of a launcher", {}};
  const bool is_connected = std::getenv("PMIX_RANK") != nullptr;
  if (is_connected) singleton.found = "this process is a rank of a job";
  try {
    if (!is_connected) comm::check_launcher("mpi", 1, [](const char* variable) { return std::getenv(variable); });
  } catch (const comm::LaunchError& error) {
    singleton = {singleton.name, CheckStatus::kFail, error.what(), singleton.wanted, "start all ranks by one launcher"};
  }
  return {library, launcher, singleton};
}

std::vector<Check> all_checks(const std::filesystem::path& folder) {
  std::vector<Check> checks;
  // A check that cannot be made is a failed check; the others go on.
  const auto add = [&](const char* name, const auto& make) {
    try {
      for (Check& check : make()) checks.push_back(std::move(check));
    } catch (const std::exception& error) {
      checks.push_back({name, CheckStatus::kFail, error.what(), "a check that ends", "report this"});
    }
  };
  add("build", [] { return std::vector{build_check(), torch_check()}; });
  if constexpr (build::kMpi) add("mpi", mpi_checks);
  add("host", [] { return host_checks([](const char* variable) { return std::getenv(variable); }); });
  add("storage", [&] { return storage_checks(folder); });
  return checks;
}

}  // namespace

int run_doctor(const CommandLine& line) {
  const std::vector<Check> checks = all_checks(line.arguments.empty() ? "." : line.arguments[0]);
  bool has_failed = false;
  auto rows = nlohmann::json::array();
  for (const Check& check : checks) {
    has_failed = has_failed || check.status == CheckStatus::kFail;
    if (line.json) {
      rows.push_back({{"check", check.name},
                      {"status", name(check.status)},
                      {"found", check.found},
                      {"wanted", check.wanted},
                      {"advice", check.advice}});
      continue;
    }
    *line.output << fmt::format("{:<5} {:<20} {}\n", name(check.status), check.name, check.found);
    if (check.status != CheckStatus::kOk) {
      *line.output << fmt::format("{:<5} {:<20}   wanted: {}\n{:<5} {:<20}   do: {}\n", "", "", check.wanted, "", "",
                                  check.advice);
    }
  }
  if (line.json) *line.output << rows.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
  return static_cast<int>(has_failed ? ExitCode::kEnvironment : ExitCode::kDone);
}

}  // namespace ballast::launch
