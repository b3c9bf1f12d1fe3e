#pragma once
// What the benchmarks of `ballast bench` have in common, and those with a file of their own.
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "launch/command.h"
#include "runtime/comm/communicator.h"
#include "runtime/train/core_share.h"
#include "runtime/train/trainer.h"

namespace ballast::launch {

int run_bench_calibrate(const CommandLine& line, comm::Communicator& world);
int run_bench_policies(const CommandLine& line, comm::Communicator& world);

/// Random tokens of lengths drawn from --lengths by `seed` (a list: all of it), else the first step of the run's data. The same
/// on every rank; rank 0 alone reads the file.
std::vector<data::Sequence> batch_of(const CommandLine& line, std::uint64_t seed, train::Trainer& trainer);

nlohmann::ordered_json cores_json(const train::CoreShare& cores);
/// A line, with a warning where ranks have to take turns.
std::string cores_text(const train::CoreShare& cores);

}  // namespace ballast::launch
