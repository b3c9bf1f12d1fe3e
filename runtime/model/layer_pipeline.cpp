#include "runtime/model/layer_pipeline.h"

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

LayerPipeline::LayerPipeline(std::span<const TokenGroup> groups, PhaseClock& clock, std::function<bool()> do_other_work)
    : groups_(groups.begin(), groups.end()), clock_(clock), do_other_work_(std::move(do_other_work)) {}

void LayerPipeline::run(const std::vector<PipelineStage>& stages) {
  stages_ = &stages;
  at_ = {};
  num_through_.assign(stages.size(), 0);
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
  return std::ranges::all_of(groups_, [&](TokenGroup group) { return at_[static_cast<std::size_t>(group)] == stage; });
}

bool LayerPipeline::move() {
  bool moved = move_passes();
  for (const TokenGroup group : groups_) moved = move(group) || moved;
  return moved;
}

bool LayerPipeline::move(TokenGroup group) {
  const std::size_t stage = at(group);
  const auto* const attention = stage < stages_->size() ? std::get_if<AttentionStage>(&(*stages_)[stage]) : nullptr;
  if (!attention) return false;
  bool& has_entered = has_entered_[static_cast<std::size_t>(group)];
  const auto find = [&] { return std::ranges::find(passes_, stage, &OpenPass::stage); };
  if (!has_entered) {
    if (find() == passes_.end()) {
      close_passes(kMostOpenPasses - 1);
      const PhaseClock::Scope phase(clock_, StepPhase::kAttention);
      passes_.push_back({stage, attention->start()});
    }
    const auto open = find();
    open->pass->provide(group);
    ++open->num_provided;
    has_entered = true;
    return true;
  }
  const auto open = find();
  if (open->num_provided < static_cast<int>(groups_.size())) return false;
  {
    const PhaseClock::Scope phase(clock_, StepPhase::kAttention);
    if (!open->pass->land(group)) return false;
  }
  has_entered = false;
  ++at(group);
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

bool LayerPipeline::run_rows(TokenGroup group) {
  if (std::ranges::find(groups_, group) == groups_.end()) return false;
  const std::size_t stage = at(group);
  const auto* const rows = stage < stages_->size() ? std::get_if<RowStage>(&(*stages_)[stage]) : nullptr;
  if (!rows) return false;
  const bool is_last = num_through_[stage] + 1 == static_cast<int>(groups_.size());
  if (rows->is_ready_first && group == TokenGroup::kLate && !is_last) return false;
  rows->run(group);
  ++num_through_[stage];
  ++at(group);
  if (is_last && rows->after_all) rows->after_all();
  return true;
}

bool LayerPipeline::compute(TaskClass which) {
  const PhaseClock::Scope phase(clock_, StepPhase::kAttention);
  return std::ranges::any_of(passes_, [&](OpenPass& one) { return one.pass->compute_one(which); });
}

bool LayerPipeline::run_joint() {
  const std::size_t stage = at(groups_.front());
  if (stage == stages_->size() || !are_all_at(stage) || !passes_.empty()) return false;
  const auto* const joint = std::get_if<JointStage>(&(*stages_)[stage]);
  if (!joint) return false;
  joint->run();
  for (const TokenGroup group : groups_) ++at(group);
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
  comm::wait_for_any(pending, passes_.front().pass->deadline());
}

}  // namespace ballast::model
