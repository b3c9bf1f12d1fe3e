#pragma once
// One batch of one policy: which one, what its plan is worth, and its form as a line of JSON.
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "scheduler/make_plan.h"
#include "scheduler/sim/planner_benchmark.h"

namespace ballast::launch {

/// A combination of a grid: everything but policy and seed. Files are named without folder and ending.
struct PlannerCell {
  std::string cluster, model, lengths;
  int gpus = 0;
  std::int64_t tokens = 0;  ///< of a batch
  double token_cap = 0;     ///< as a multiple of the tokens over the ranks; 0: none
};

/// A batch of a cell, and what became of it.
struct PlannerResult {
  PlannerCell cell;
  std::string row;           ///< name of the policy or variant
  int seed = 0;              ///< -1: no batch of the cell was tried
  std::uint64_t inputs = 0;  ///< input_hash of the request; 0: not known, or no batch
  std::string commit;        ///< of the program that made it
  scheduler::PlannerScore score = {};

  /// The cell, row and seed as one line.
  std::string names() const;
};

/// Hash (XXH3, 64 bits) of all that a score depends on: lengths, cluster, model and options, without the names of cluster and
/// model.
std::uint64_t input_hash(const scheduler::PlanRequest& request);

/// How the line of every result begins.
inline constexpr const char* kPlannerResultBegin = "{\"policy\":";

std::string json_line(const PlannerResult& result);

/// The result of a line, also of programs that wrote fewer fields. Throws: nlohmann::json::exception.
PlannerResult planner_result_from(const nlohmann::json& line);

}  // namespace ballast::launch
