#pragma once
// Executes an expansion on sets of tokens instead of numbers: who holds what, which pairs each output and gradient is made of.
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "scheduler/plan/expand.h"

namespace ballast::scheduler {

/// What the expansion got wrong.
class SymbolicError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

/// One attention layer of one micro-batch on all ranks. Every rank follows the rules of RankAttention, in strict order, and every
/// use of a token checks that the rank has it.
class SymbolicAttention {
 public:
  /// Input: references stay valid. Cost of a pass: quadratic in lengths.
  SymbolicAttention(const MicroBatch& micro_batch, HeadCounts heads, const AttentionExpansion& expansion);

  /// Runs a forward pass and then checks that every output came home, made of every key that its query sees, each once.
  /// kForeign: the keys are those of the last forward pass with kOwn.
  void forward(KeyValueUse use);
  /// Runs a backward pass and then checks query gradients alike. kOwn: that key gradients came home, made of every query that
  /// sees the key, each as often as there were backward passes since the last forward pass with kOwn.
  void backward(KeyValueUse use);

 private:
  using Place = std::pair<int, int>;                      ///< slice, member
  using Counts = std::vector<int>;                        ///< by token: how often it contributed
  using Sums = std::vector<Counts>;                       ///< by token: what its output or gradient is made of
  using Event = std::tuple<Stage, int, int>;              ///< stage, queue, round
  using Delivery = std::vector<std::pair<Parcel, Sums>>;  ///< parcels with the sums of their tokens
  struct RankState {
    std::map<Place, std::vector<char>> held_queries;
    std::map<Place, std::vector<char>> held_output_gradients;
    std::map<Place, std::vector<char>> held_keys;
    std::map<Place, Sums> query_sums;
    std::map<Place, Sums> key_sums;
    RankAttention attention;
    std::size_t num_started = 0;
    std::size_t num_tasks_done = 0;
    std::map<Event, std::size_t> num_missing;  ///< messages of exchanges that it takes part in
    std::map<Event, char> has_started;
  };

  void run(Pass pass, KeyValueUse use);
  void check_lists(Pass pass, KeyValueUse use) const;
  bool is_over(const RankState& state, Event event) const;
  bool are_tasks_done(const RankState& state, int queue, int last_round) const;
  bool may_start(const RankState& state, const AttentionExchange& exchange) const;
  bool may_run(const RankState& state, const BlockTask& task) const;
  Sums take(int rank, Stage stage, const Parcel& parcel);
  void put(int rank, Stage stage, const Parcel& parcel, Sums sums);
  void compute(int rank, const BlockTask& task);
  void check_home_sums(const std::map<std::pair<std::int64_t, int>, Sums>& sums, bool of_queries, int times) const;
  std::int64_t length(std::int64_t sequence) const { return lengths_.at(sequence); }
  const AttentionSlice& slice(int index) const { return expansion_.slices()[static_cast<std::size_t>(index)]; }
  bool is_home(int rank, const Chunk& chunk) const;

  const MicroBatch& micro_batch_;
  HeadCounts heads_;
  const AttentionExpansion& expansion_;
  std::map<std::int64_t, std::int64_t> lengths_;
  std::vector<RankState> ranks_;
  std::map<std::tuple<Event, int, int>, Delivery> mail_;  ///< by exchange, source, destination
  bool is_forward_ = true;
  int num_backward_passes_ = 0;                                   ///< since the last forward pass with own keys
  std::map<std::pair<std::int64_t, int>, Sums> home_query_sums_;  ///< by sequence and query head
  std::map<std::pair<std::int64_t, int>, Sums> home_key_sums_;    ///< by sequence and query head: by key, its queries
};

/// Bytes that a rank gets over a stage of a pass, in rows of one head, copies to itself not counted.
std::int64_t received_rows(const RankAttention& attention, Stage stage);

}  // namespace ballast::scheduler
