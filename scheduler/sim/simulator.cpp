#include "scheduler/sim/simulator.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <utility>

#include "scheduler/sim/bounds.h"
#include "scheduler/sim/clock.h"
#include "scheduler/sim/engine.h"
#include "scheduler/sim/step_program.h"
#include "scheduler/sim/step_totals.h"

namespace ballast::scheduler {

struct Simulator::Step {
  StepProgram program;
  /// The same with fewer rounds, if not all rounds of its rings are in `program`.
  std::optional<StepProgram> shorter;
  Topology topology;
};

namespace {

/// Goes on in a straight line from two values to what they would be `ahead` times their distance further.
double ahead_of(double shorter, double longer, double ahead) { return longer + ahead * (longer - shorter); }
std::int64_t ahead_of(std::int64_t shorter, std::int64_t longer, double ahead) {
  const double more = ahead * static_cast<double>(longer - shorter);
  if (more + static_cast<double>(longer) >= 0x1p63) refuse_bytes(more + static_cast<double>(longer));
  return longer + static_cast<std::int64_t>(more);
}

/// The step with all rounds of its rings, of which each adds as much as the last ones that are simulated.
Simulation with_all_rounds(const Simulation& shorter, Simulation longer, double ahead) {
  longer.is_exact = false;
  longer.makespan_seconds = 0;
  for (std::size_t r = 0; r < longer.ranks.size(); ++r) {
    for (double RankTime::*part : {&RankTime::attention_seconds, &RankTime::linear_seconds, &RankTime::exposed_seconds,
                                   &RankTime::barrier_seconds, &RankTime::end_seconds}) {
      longer.ranks[r].*part = std::max(0.0, ahead_of(shorter.ranks[r].*part, longer.ranks[r].*part, ahead));
    }
    longer.makespan_seconds = std::max(longer.makespan_seconds, longer.ranks[r].end_seconds);
  }
  for (std::size_t g = 0; g < longer.nics.size(); ++g) {
    longer.nics[g].sent = ahead_of(shorter.nics[g].sent, longer.nics[g].sent, ahead);
    longer.nics[g].received = ahead_of(shorter.nics[g].received, longer.nics[g].received, ahead);
  }
  longer.num_messages = ahead_of(shorter.num_messages, longer.num_messages, ahead);
  longer.message_bytes = ahead_of(shorter.message_bytes, longer.message_bytes, ahead);
  return longer;
}

}  // namespace

Simulator::Simulator(const Plan& plan, const ModelShape& model, const Topology& topology, int most_rounds) {
  if (most_rounds < 4) throw std::invalid_argument(fmt::format("simulation: {} rounds of a ring; give 4 or more", most_rounds));
  const double least_seconds = step_bounds(plan.lengths, model, topology, 0).work_seconds;
  if (least_seconds > kMostSeconds) refuse_step(least_seconds);
  Step step{step_program(plan, model, topology, most_rounds), std::nullopt, topology};
  if (step.program.num_rounds < step.program.all_rounds) step.shorter = step_program(plan, model, topology, most_rounds * 3 / 4);
  step_ = std::make_unique<const Step>(std::move(step));
}
Simulator::~Simulator() = default;
Simulator::Simulator(Simulator&&) noexcept = default;
Simulator& Simulator::operator=(Simulator&&) noexcept = default;

Simulation Simulator::run(const SimulationOptions& options) const {
  Simulation simulation = run_engine(step_->program, step_->topology, options);
  if (!step_->shorter) return simulation;
  SimulationOptions silent = options;
  silent.records_timeline = silent.records_messages = false;
  const int num_rounds = step_->program.num_rounds;
  const double ahead = static_cast<double>(step_->program.all_rounds - num_rounds) / (num_rounds - step_->shorter->num_rounds);
  return with_all_rounds(run_engine(*step_->shorter, step_->topology, silent), std::move(simulation), ahead);
}

Simulation simulate(const Plan& plan, const ModelShape& model, const Topology& topology, const SimulationOptions& options) {
  return Simulator(plan, model, topology).run(options);
}

}  // namespace ballast::scheduler
