#pragma once
// Runs one rank's part of a pass: posts all its receives, starts its exchanges in the plan's order as soon as what they send is
// there, and computes blocks in between.
#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "runtime/comm/communicator.h"
#include "runtime/metrics/phase_clock.h"
#include "runtime/model/attention_program.h"

namespace ballast::model {

/// The walk through a RankAttention; what rows are and what a block computes is the derived class's.
class AttentionPass {
 public:
  virtual ~AttentionPass() = default;
  AttentionPass(const AttentionPass&) = delete;
  AttentionPass& operator=(const AttentionPass&) = delete;

  /// Runs everything, and `do_other_work` while messages travel and nothing is ready, as long as it finds some. What comes home
  /// is added in the plan's order, whatever order it arrived in. Memory: what is received has its place from the start, all
  /// blocks of the rank's rings included; it is given back exchange by exchange. Throws: CommError, naming the peer, when a
  /// message does not come within the deadline.
  void execute(const std::function<bool()>& do_other_work);

 protected:
  /// Input: `rows` describes a message row: [head_dim] elements of the activations' type.
  AttentionPass(const AttentionProgram& program, scheduler::Pass pass, scheduler::KeyValueUse use, comm::Communicator& ranks,
                metrics::PhaseClock& clock, std::int64_t head_dim, const at::TensorOptions& rows);

  const AttentionProgram& program() const { return program_; }
  const scheduler::RankAttention& attention() const { return attention_; }

 private:
  /// The rows that a parcel carries, [num_rows, head_dim] or any shape of as many elements.
  virtual at::Tensor take(scheduler::Stage stage, const scheduler::Parcel& parcel) = 0;
  /// Rows [num_rows, head_dim] of a parcel that is for this rank.
  virtual void put(scheduler::Stage stage, const scheduler::Parcel& parcel, const at::Tensor& rows_RH) = 0;
  virtual void compute(const scheduler::BlockTask& task) = 0;
  /// Before the queue's kReturn takes anything.
  virtual void finish_queue(int queue) = 0;
  /// After an exchange has taken all that it sends.
  virtual void finish_sending() = 0;
  /// Whole documents of this rank; they wait for nobody.
  virtual void compute(const WholeDocuments& documents) = 0;

  enum class State { kWaiting, kStarted, kFinished };
  struct Traffic {
    State state = State::kWaiting;           ///< finished: started, and everything has come; what it sends may still travel
    std::vector<at::Tensor> received, sent;  ///< buffers of the messages, alive while they travel
    comm::Pending receiving, sending;        ///< after the buffers: they are given up first
    std::vector<std::pair<const scheduler::Parcel*, at::Tensor>> arrivals;  ///< views of received rows
  };
  at::Tensor message(std::span<const scheduler::Parcel> parcels) const;
  void post_receives();
  bool is_finished(scheduler::Stage stage, int queue, int round) const;
  bool are_tasks_done(int queue, int round) const;  ///< round < 0: all rounds
  bool may_start(const scheduler::AttentionExchange& exchange) const;
  bool is_ready(const scheduler::BlockTask& task) const;
  void start(std::size_t exchange);
  void finish(std::size_t exchange);
  void progress();
  bool compute_one();
  void wait_for_any();

  const AttentionProgram& program_;
  scheduler::Pass pass_;
  const scheduler::RankAttention& attention_;
  comm::Communicator& ranks_;
  metrics::PhaseClock& clock_;
  std::int64_t head_dim_;
  at::TensorOptions rows_;
  std::vector<Traffic> traffic_;
  std::vector<char> is_done_;
  std::size_t num_started_ = 0;
  std::size_t num_documents_done_ = 0;
};

}  // namespace ballast::model
