#pragma once
// One pass of one attention layer on all ranks, as what waits for what: the expansion of a micro-batch with its times and bytes.
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "scheduler/plan/late_tokens.h"
#include "scheduler/sim/clock.h"

namespace ballast::scheduler {

/// Between which ranks a message goes, over which proxies, and which exchange of either end it belongs to.
struct ProgramMessage {
  int src = 0;
  int dst = 0;
  int src_proxy = 0;  ///< src: none
  int dst_proxy = 0;  ///< dst: none
  int src_exchange = 0;
  int dst_exchange = 0;
  std::int64_t bytes = 0;
};

/// The way of a message; its two ends, and proxies between them.
using Way = std::array<int, 4>;
inline Way way_of(const ProgramMessage& message) { return {message.src, message.src_proxy, message.dst_proxy, message.dst}; }
/// Where a way leaves its next rank: 3 if that is the destination.
inline int next_place(const Way& way, int at) {
  int next = at + 1;
  while (next < 3 && way[next] == way[at]) ++next;
  while (next < 3 && way[next + 1] == way[next]) ++next;
  return next;
}

/// All that is needed at its start and end is together.
struct alignas(64) ProgramExchange {
  int rank = 0;
  int queue = 0;
  int round = 0;
  Stage stage = Stage::kDispatch;
  bool is_cluster = false;         ///< of a queue of the cluster zone
  TokenGroups needs = 0;           ///< kDispatch: groups whose projections it sends
  TokenGroups frees_at_start = 0;  ///< kReturn: groups that get something from their own rank
  TokenGroups frees_at_end = 0;    ///< kReturn: groups that get something from another rank
  int num_waits = 0;               ///< exchanges and tasks that have to be done before it starts
  int first_task = 0;              ///< tasks that wait for its end: [first_task, last_task)
  int last_task = 0;
  std::array<int, 2> next{-1, -1};  ///< exchanges that wait for its end
  std::int32_t first_send = 0;      ///< into messages
  std::int32_t last_send = 0;
  int num_receives = 0;
};

struct ProgramTask {
  Ticks ticks = 0;
  bool is_cluster = false;
  int queue = 0;
  int round = 0;
  int num_waits = 0;                ///< exchanges that bring what it needs
  std::array<int, 2> next{-1, -1};  ///< exchanges that wait for it
  std::int64_t sequence = 0;        ///< -1: of several sequences
};

/// Ranks one after the other; indices count through all of them.
struct PassProgram {
  std::vector<ProgramExchange> exchanges;
  std::vector<int> first_exchange;       ///< by rank, and one more
  std::vector<ProgramTask> tasks;        ///< each rank's in list order
  std::vector<int> first_task;           ///< by rank, and one more
  std::vector<ProgramMessage> messages;  ///< by sending exchange, then dst, the ranks after src first; fewer than 2^31

  int num_ranks() const { return static_cast<int>(first_task.size()) - 1; }
};

/// Counts the messages that each exchange receives. Throws: std::invalid_argument for 2^31 messages or more.
void count_receives(PassProgram& program);

/// What times and bytes are made of.
struct PassRates {
  Pass pass = Pass::kForward;
  double head_pair_seconds = 0;         ///< of one query on one key, one head
  std::int64_t row_bytes = 0;           ///< of one row of a parcel
  std::int64_t gradient_row_bytes = 0;  ///< of key and value gradients, which are sums
  /// By sequence: tokens that are charged, over tokens that are there. Empty: 1. Bytes grow with it, pairs with its square.
  std::vector<double> charge;
};

/// Takes the ranks' parts one by one, so that they need not exist together.
class PassProgramBuilder {
 public:
  /// `slices` and `rates` must outlive the builder.
  PassProgramBuilder(const std::vector<AttentionSlice>& slices, const PassRates& rates);
  /// Appends the next rank. Tasks that follow each other in one round of a queue of the cluster zone become one.
  /// Throws: std::logic_error for a task that no exchange feeds.
  void add_rank(const RankAttention& attention, const LateTokens& late);
  /// Joins sends and receives. Throws: std::logic_error when a rank sends what the other end does not expect, or the reverse.
  PassProgram finish();

 private:
  double charge(int slice) const;
  void add_exchanges(const RankAttention& attention, const LateTokens& late);
  void add_tasks(const RankAttention& attention);
  /// The rank's exchange of the same stage, queue and round; -1: none.
  int find_exchange(int rank, const ProgramExchange& like) const;

  const std::vector<AttentionSlice>& slices_;
  const PassRates& rates_;
  PassProgram program_;
  std::vector<int> by_key_;        ///< exchanges of each rank, sorted by (stage, queue, round)
  std::vector<int> num_expected_;  ///< by exchange: messages that its rank expects
};

}  // namespace ballast::scheduler
