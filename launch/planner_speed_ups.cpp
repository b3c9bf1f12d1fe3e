#include "launch/planner_speed_ups.h"

#include <fmt/format.h>

#include <utility>

#include "launch/planner_table.h"

namespace ballast::launch {
namespace {

constexpr const char* kRow = "{:<24} {:<28} {:>7} {:>14} {:>14}\n";

std::string batch_of(PlannerResult result) {
  result.row.clear();
  return result.names();
}

}  // namespace

void PlannerSpeedUps::add(const PlannerResult& result) {
  if (result.score.makespan_seconds > 0) by_batch_[batch_of(result)][result.row] = result;
}

void PlannerSpeedUps::print(const std::string& baseline, const std::vector<std::string>& rows, std::ostream& out) const {
  out << fmt::format(
      "\nSpeed-up over {}, mean/largest; attention: transfers hidden behind attention alone; all: behind linear work too\n",
      baseline);
  out << fmt::format(kRow, "policy", "of", "batches", "attention", "all");
  for (const std::string& row : rows) {
    if (row == baseline) continue;
    std::map<std::string, std::pair<Spread, Spread>> groups;  // names begin with the place of their kind
    for (const auto& [name, results] : by_batch_) {
      const auto base = results.find(baseline), own = results.find(row);
      if (base == results.end() || own == results.end()) continue;
      const PlannerCell& cell = own->second.cell;
      for (const std::string& group :
           {std::string("0everything"), "1" + cell.cluster, "2" + cell.model, "3" + cell.lengths,
            fmt::format("4{:>4} GPUs", cell.gpus), fmt::format("5{:>6} tokens a GPU", cell.tokens / cell.gpus)}) {
        const scheduler::PlannerScore& slow = base->second.score;
        const scheduler::PlannerScore& fast = own->second.score;
        groups[group].first.add(slow.makespan_seconds_attention_overlap_only / fast.makespan_seconds_attention_overlap_only);
        groups[group].second.add(slow.makespan_seconds / fast.makespan_seconds);
      }
    }
    for (const auto& [group, spread] : groups) {
      out << fmt::format(kRow, row, group.substr(1), spread.first.count, spread.first.text(), spread.second.text());
    }
  }
}

}  // namespace ballast::launch
