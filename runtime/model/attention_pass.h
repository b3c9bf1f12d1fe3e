#pragma once
// One layer's attention on one rank, forward or backward, as far as it has come: its receives are posted at once, its exchanges
// start in the plan's order as soon as what they send is there, and blocks are computed in between.
#include <ATen/core/Tensor.h>

#include <array>
#include <optional>
#include <vector>

#include "runtime/comm/communicator.h"
#include "runtime/model/attention_program.h"

namespace ballast::model {

/// Exchanges of the cluster zone and the others form two lists, each started in its own order: slow messages hold up no fast
/// ones.
inline constexpr int kNumExchangeLists = 2;

/// Communicators over the same ranks, one for each list.
struct AttentionChannels {
  comm::Communicator& cluster;
  comm::Communicator& near;
};

/// Lists whose next exchange may start: all of the layers before have started theirs.
using OpenLists = std::array<bool, kNumExchangeLists>;

enum class TaskClass {
  kCluster,  ///< of a queue of the cluster zone: others wait for what comes of it
  kOther,
};

/// Who holds it decides what runs when (layer_pipeline.h); what rows are and what a block computes is the derived class's.
/// Memory: what is received has its place from the start, all blocks of the rank's rings included; it is given back exchange by
/// exchange. What is sent is copied when its exchange starts, until it has left.
/// Throws: CommError, from everything that moves messages.
class AttentionPass {
 public:
  virtual ~AttentionPass() = default;
  AttentionPass(const AttentionPass&) = delete;
  AttentionPass& operator=(const AttentionPass&) = delete;

  /// The group's rows are there: queries, keys and values forward, gradients of outputs backward.
  void provide(scheduler::TokenGroup group);
  /// Takes what has come and starts what may start, in the lists that are open; closes those that it has not started to the end.
  /// Returns: whether anything changed.
  bool progress(OpenLists& open);
  /// Runs the first task of a class that is ready; false: none is.
  bool compute_one(TaskClass which);
  /// Whether everything that attention gives to the group's rows is there: outputs forward, gradients backward. What comes home
  /// is added in the plan's order, whatever order it arrived in.
  bool land(scheduler::TokenGroup group);
  /// All is computed, landed, received and sent.
  bool is_finished() const;
  /// Ends a finished pass. Input: passes of the same micro-batch end in order.
  virtual void close() {}

  /// Appends what it waits for: first what has to come, then what is still on its way to others.
  void add_pending(std::vector<comm::Pending*>& pending);
  /// What has to come next, by way of which ranks: a block of keys goes round its ring, so who is silent may be far away. Empty
  /// where it waits for nobody.
  std::string awaited() const;
  const AttentionProgram& program() const { return program_; }
  std::chrono::duration<double> deadline() const { return channels_.cluster.deadline(); }

 protected:
  /// Posts the receives. Input: `rows` describes a message row: [head_dim] elements of the activations' type. Program and
  /// channels outlive the pass.
  AttentionPass(const AttentionProgram& program, scheduler::Pass pass, scheduler::KeyValueUse use,
                const AttentionChannels& channels, std::int64_t head_dim, const at::TensorOptions& rows);

  const scheduler::RankAttention& attention() const { return part_.attention; }
  bool has_dispatch(int queue) const;

 private:
  /// The rows that a parcel carries, [num_rows, head_dim] or any shape of as many elements.
  virtual at::Tensor take(scheduler::Stage stage, const scheduler::Parcel& parcel) = 0;
  /// Rows [num_rows, head_dim] of a parcel for this rank as a member.
  virtual void put(scheduler::Stage stage, const scheduler::Parcel& parcel, const at::Tensor& rows_RH) = 0;
  /// The same of a parcel for this rank as the home; those rows of it that belong to the group.
  virtual void put_home(const scheduler::Parcel& parcel, const at::Tensor& rows_RH, scheduler::TokenGroup group) = 0;
  virtual void compute(const scheduler::BlockTask& task) = 0;
  /// Whole documents of this rank; they wait for nobody.
  virtual void compute(const WholeDocuments& documents) = 0;
  /// Whether the members' keys of the queue are there, an earlier layer's included.
  virtual bool has_keys(int queue) const = 0;
  /// After the queue's kDispatch.
  virtual void finish_dispatch(int queue) = 0;
  /// Whether kReturn may take the gradients of keys and values: other layers may add to them.
  virtual bool may_return() const = 0;
  /// Before the queue's kReturn takes anything.
  virtual void finish_queue(int queue) = 0;
  /// After an exchange has taken all that it sends.
  virtual void finish_sending() = 0;

  struct Traffic {
    bool is_started = false;
    bool has_come = false;                   ///< everything that is received
    std::vector<at::Tensor> received, sent;  ///< buffers of the messages, alive while they travel
    comm::Pending receiving, sending;        ///< after the buffers, so that they are given up first
    std::vector<std::pair<const scheduler::Parcel*, at::Tensor>> arrivals;  ///< views of received rows
    bool is_finished() const { return is_started && has_come; }
  };
  /// Whether what others send for an exchange is missing now.
  bool is_awaited(std::size_t exchange) const;
  /// The ranks that a parcel of other ranks has passed, in order, up to the one that sends it here.
  std::vector<int> way(scheduler::Stage stage, const scheduler::Parcel& parcel) const;
  int list_of(const scheduler::AttentionExchange& exchange) const { return program_.is_cluster_queue(exchange.queue) ? 0 : 1; }
  comm::Communicator& channel(const scheduler::AttentionExchange& exchange) const;
  bool is_finished(scheduler::Stage stage, int queue, int round) const;
  bool are_tasks_done(int queue, int round) const;  ///< round < 0: all rounds
  bool may_start(std::size_t exchange) const;
  bool is_ready(const scheduler::BlockTask& task) const;
  at::Tensor message(std::span<const scheduler::Parcel> parcels) const;
  void post_receives();
  void start(std::size_t exchange);
  void finish(std::size_t exchange);
  /// True if something has come that had not.
  bool take_arrivals();
  std::optional<std::size_t> next_task(TaskClass which) const;

  const AttentionProgram& program_;
  const scheduler::Pass pass_;
  const PassPart& part_;
  const AttentionChannels channels_;
  const std::int64_t head_dim_;
  const at::TensorOptions rows_;
  std::vector<Traffic> traffic_;                             ///< by exchange
  std::array<std::size_t, kNumExchangeLists> next_start_{};  ///< exchanges of the list before this one are started
  std::vector<char> is_done_;                                ///< by task
  std::size_t num_tasks_left_;
  std::size_t num_documents_done_ = 0;
  scheduler::TokenGroups provided_ = 0;
  scheduler::TokenGroups landed_ = 0;
};

}  // namespace ballast::model
