#include "launch/planner_table.h"

#include <fmt/format.h>

namespace ballast::launch {
namespace {

constexpr const char* kRow = "{:<24} {:>15} {:>15} {:>15} {:>12} {:>12} {:>12} {:>12} {:>16}{}\n";

}  // namespace

std::string Spread::text() const { return count == 0 ? "n/a" : fmt::format("{:.3f}/{:.3f}", sum / count, worst); }

void PlannerRow::add(const scheduler::PlannerScore& score) {
  planning_ms_.add(1e3 * score.planning_seconds);
  if (score.num_micro_batches > 0) {
    imbalance_.add(score.imbalance_full);
    attention_.add(score.imbalance_attention);
    tokens_.add(score.tokens_max_over_budget);
  }
  if (score.makespan_over_strict_bound > 0) {
    makespan_.add(score.makespan_over_strict_bound);
    best_bound_.add(score.makespan_over_best_bound);
    attention_only_.add(score.makespan_over_strict_bound_attention_overlap_only);
    exposed_.add(score.exposed_communication_fraction);
    is_exact_ = is_exact_ && score.is_exact;
  }
  if (!score.refusal.empty()) refusal_ = score.refusal;
}

std::string PlannerRow::text(const std::string& name, const std::string& reason) const {
  const std::string& remark = is_empty() ? reason : refusal_;
  return fmt::format(kRow, name, makespan_.text(), best_bound_.text(), attention_only_.text(), imbalance_.text(),
                     attention_.text(), tokens_.text(), exposed_.text(), planning_ms_.text(),
                     fmt::format("{}{}{}", is_exact_ ? "" : "  ~", remark.empty() ? "" : "  ", remark));
}

std::string planner_table_head(const PlannerCell& cell, const std::string& batches) {
  const std::string cap = cell.token_cap > 0 ? fmt::format("cap {:.6g}", cell.token_cap) : "no cap";
  return fmt::format("\n{}, {}, {}, {} GPUs, {} tokens, {}: mean/worst of {}\n", cell.cluster, cell.model, cell.lengths,
                     cell.gpus, cell.tokens, cap, batches) +
         fmt::format(kRow, "policy", "makespan", "/ best bound", "no lin. ovl.", "imbalance", "attention", "tokens", "exposed",
                     "planning ms", "");
}

std::string planner_table_legend() {
  return R"(
makespan      simulated step over the strict bound: all work divided evenly by the ranks, no communication
/ best bound  the same step over the bound that knows network cards, bytes and the cap as well
no lin. ovl.  as makespan, of an engine that hides transfers behind attention alone, not behind linear work
imbalance     attention and linear work of the fullest rank over that of the mean rank
attention     the same of attention alone
tokens        most tokens that a rank holds, in either layout, over the even share
exposed       part of the step in which ranks wait for messages, mean over ranks
planning ms   processor time from lengths to the plan of all ranks and the messages of one
n/a           no batch has it; why is at the end of the row
~             a makespan is estimated: of equal layers, or rounds of a ring, some were simulated for all
)";
}

}  // namespace ballast::launch
