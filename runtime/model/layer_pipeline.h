#pragma once
// Who runs when on one rank: linear work of two token groups, attention of the layers that it lies between, gradients of weights.
#include <deque>
#include <functional>
#include <memory>
#include <variant>
#include <vector>

#include "runtime/metrics/phase_clock.h"
#include "runtime/model/attention_pass.h"

namespace ballast::model {

/// Linear work of a block of rows, one kernel or a few: nothing interrupts it.
struct RowStage {
  std::function<void(const RowBlock&)> run;
  std::function<void()> after_all = nullptr;  ///< when the last block has gone through
  bool is_ready_first = false;                ///< ready rows go before late ones, so that sums over both have one order
};

/// Attention of a layer: groups give it their rows and go on when theirs have come back.
struct AttentionStage {
  std::function<std::unique_ptr<AttentionPass>()> start;
};

/// Work on all rows in which the ranks may wait for each other: groups join, and attention before it is over.
struct JointStage {
  std::function<void()> run;
};

using PipelineStage = std::variant<RowStage, AttentionStage, JointStage>;

/// Takes the token groups of a rank, block by block, through stages. A group leaves an attention when the other one has entered
/// it, so none is more than one layer ahead; at most two passes are open. Of what is ready the first of this list runs: linear
/// work of late rows, tasks of the cluster zone, other tasks, linear work of ready rows, joint stages, other work; when nothing
/// is, the rank waits for whichever message comes first. Deterministic: what is computed does not depend on when messages come,
/// nor does any sum's order.
class LayerPipeline {
 public:
  /// Input: `do_other_work` is work that nobody waits for; it says whether it did any. All of these outlive the pipeline.
  LayerPipeline(const std::vector<RowBlock>& blocks, metrics::PhaseClock& clock, std::function<bool()> do_other_work = nullptr);

  /// Runs all stages. Throws: CommError, naming the peer, when a message does not come within the deadline.
  void run(const std::vector<PipelineStage>& stages);

 private:
  struct OpenPass {
    std::size_t stage;
    std::unique_ptr<AttentionPass> pass;
    int num_provided = 0;
  };
  /// A token group with rows, and where it is.
  struct Group {
    scheduler::TokenGroup name;
    std::vector<const RowBlock*> blocks;
    std::size_t stage = 0;
    std::size_t next_block = 0;  ///< of a row stage
    bool has_entered = false;    ///< an attention stage: its rows are there
  };
  /// The stage that a group is in, if it is one of that kind; else nullptr.
  template <class Kind>
  const Kind* stage_of(const Group& group) const {
    return group.stage < stages_->size() ? std::get_if<Kind>(&(*stages_)[group.stage]) : nullptr;
  }
  bool are_all_at(std::size_t stage) const;
  /// Lets messages move, groups enter and leave attention, finished passes end. Returns: whether anything changed.
  bool move();
  bool move(Group& group);
  bool run_rows(scheduler::TokenGroup name);
  bool compute(TaskClass which);
  bool run_joint();
  /// Work of open passes alone, until no more than `most` are open.
  void close_passes(std::size_t most);
  bool move_passes();
  void wait();

  metrics::PhaseClock& clock_;
  const std::function<bool()> do_other_work_;
  const std::vector<PipelineStage>* stages_ = nullptr;
  std::vector<Group> groups_;
  std::deque<OpenPass> passes_;
};

}  // namespace ballast::model
