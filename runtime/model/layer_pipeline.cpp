#include "runtime/model/layer_pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "runtime/comm/wait_for_any.h"

namespace ballast::model {

using metrics::PhaseClock;
using metrics::StepPhase;
using scheduler::TokenGroup;

namespace {

constexpr std::size_t kMostOpenPasses = 2;

}  // namespace

LayerPipeline::LayerPipeline(const std::vector<RowBlock>& blocks, PhaseClock& clock, std::function<bool()> do_other_work)
    : clock_(clock), do_other_work_(std::move(do_other_work)) {
  for (const RowBlock& block : blocks) {
    if (groups_.empty() || groups_.back().name != block.group) groups_.push_back({.name = block.group, .blocks = {}});
    groups_.back().blocks.push_back(&block);
  }
}

void LayerPipeline::run(const std::vector<PipelineStage>& stages) {
  stages_ = &stages;
  for (Group& group : groups_) group.stage = group.next_block = 0;
  const auto do_other_work = [&] { return do_other_work_ && do_other_work_(); };
  while (!are_all_at(stages.size())) {
    if (move()) continue;
    const bool did_something = run_rows(TokenGroup::kLate) || compute(TaskClass::kCluster) || compute(TaskClass::kOther) ||
                               run_rows(TokenGroup::kReady) || run_joint() || do_other_work();
    if (!did_something) wait();
  }
  close_passes(0);
}

bool LayerPipeline::are_all_at(std::size_t stage) const {
  return std::ranges::all_of(groups_, [&](const Group& group) { return group.stage == stage; });
}

bool LayerPipeline::move() {
  bool moved = move_passes();
  for (Group& group : groups_) moved = move(group) || moved;
  return moved;
}

bool LayerPipeline::move(Group& group) {
  const auto* const attention = stage_of<AttentionStage>(group);
  if (!attention) return false;
  const auto find = [&] { return std::ranges::find(passes_, group.stage, &OpenPass::stage); };
  if (!group.has_entered) {
    if (find() == passes_.end()) {
      close_passes(kMostOpenPasses - 1);
      const PhaseClock::Scope phase(clock_, StepPhase::kAttention);
      passes_.push_back({group.stage, attention->start()});
    }
    const auto open = find();
    open->pass->provide(group.name);
    ++open->num_provided;
    group.has_entered = true;
    return true;
  }
  const auto open = find();
  if (open->num_provided < static_cast<int>(groups_.size())) return false;
  {
    const PhaseClock::Scope phase(clock_, StepPhase::kAttention);
    if (!open->pass->land(group.name)) return false;
  }
  group.has_entered = false;
  ++group.stage;
  return true;
}

bool LayerPipeline::move_passes() {
  const PhaseClock::Scope phase(clock_, StepPhase::kAttention);
  bool moved = false;
  OpenLists open;
  open.fill(true);
  for (OpenPass& one : passes_) moved = one.pass->progress(open) || moved;
  while (!passes_.empty() && passes_.front().pass->is_finished()) {
    passes_.front().pass->close();
    passes_.pop_front();
    moved = true;
  }
  return moved;
}

bool LayerPipeline::run_rows(TokenGroup name) {
  const auto group = std::ranges::find(groups_, name, &Group::name);
  const auto* const rows = group == groups_.end() ? nullptr : stage_of<RowStage>(*group);
  if (!rows) return false;
  const std::size_t stage = group->stage;
  // Ready rows come last in the list of groups.
  if (rows->is_ready_first && name == TokenGroup::kLate && groups_.back().stage <= stage && groups_.size() > 1) return false;
  rows->run(*group->blocks[group->next_block]);
  if (++group->next_block < group->blocks.size()) return true;
  group->next_block = 0;
  ++group->stage;
  const bool is_last = std::ranges::all_of(groups_, [&](const Group& one) { return one.stage > stage; });
  if (is_last && rows->after_all) rows->after_all();
  return true;
}

bool LayerPipeline::compute(TaskClass which) {
  const PhaseClock::Scope phase(clock_, StepPhase::kAttention);
  return std::ranges::any_of(passes_, [&](OpenPass& one) { return one.pass->compute_one(which); });
}

bool LayerPipeline::run_joint() {
  const auto* const joint = stage_of<JointStage>(groups_.front());
  if (!joint || !are_all_at(groups_.front().stage) || !passes_.empty()) return false;
  joint->run();
  for (Group& group : groups_) ++group.stage;
  return true;
}

void LayerPipeline::close_passes(std::size_t most) {
  while (passes_.size() > most) {
    if (move_passes() || compute(TaskClass::kCluster) || compute(TaskClass::kOther)) continue;
    if (!do_other_work_ || !do_other_work_()) wait();
  }
}

void LayerPipeline::wait() {
  const PhaseClock::Scope phase(clock_, StepPhase::kCommunication);
  std::vector<comm::Pending*> pending;
  for (OpenPass& one : passes_) one.pass->add_pending(pending);
  TORCH_CHECK(!pending.empty(), "layers of a rank: nothing can go on, and nothing is to come; ", passes_.size(),
              " attention passes are open");
  try {
    comm::wait_for_any(pending, passes_.front().pass->deadline());
  } catch (const comm::DeadlineError& error) {
    for (const OpenPass& one : passes_) {
      const std::string awaited = one.pass->awaited();
      if (!awaited.empty()) throw comm::DeadlineError(fmt::format("{}. Attention waits for {}", error.what(), awaited));
    }
    throw;
  }
}

}  // namespace ballast::model
