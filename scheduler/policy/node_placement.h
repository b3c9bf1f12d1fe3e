#pragma once
// One node of a placement: its whole sequences, its heads of cut sequences and its home tokens, divided among its ranks.
#include <cstdint>
#include <span>
#include <vector>

#include "scheduler/plan/plan.h"

namespace ballast::scheduler {

/// In every layer a token of a cut sequence goes from its home over cards to its heads and back, whichever nodes they are on:
/// seconds that follow one another.
struct CutChain {
  double head_card_seconds = 0;     ///< what the node's heads receive, or return, if one rank's part of the cards carries it all
  double home_card_seconds = 0;     ///< what the node's home tokens send, or get back, likewise
  double slowest_head_seconds = 0;  ///< of all nodes, if ranks and cards have equal parts: attention of heads and its messages
  double slowest_home_seconds = 0;  ///< likewise: linear work of home tokens and their messages
};

/// What one node has to do, and the prices.
struct NodeLoad {
  int num_ranks = 1;
  std::span<const std::int64_t> sequences;  ///< whole ones, longest first
  std::span<const std::int64_t> lengths;    ///< of all sequences of the step
  std::int64_t num_heads = 1;               ///< of queries
  double cut_attention_seconds = 0;         ///< attention of the node's heads of cut sequences
  double cut_tokens = 0;                    ///< what these heads hold, in tokens
  double home_tokens = 0;                   ///< tokens of cut sequences whose linear work is here
  CutChain chain;                           ///< of cut sequences
  double square_seconds = 0;                ///< attention of one token squared
  double token_seconds = 0;                 ///< linear work of one token
  double ring_token_seconds = 0;            ///< keys and values of one token over a link of the node
  double message_seconds = 0;               ///< fixed cost of a message inside the node
  double token_cap = 0;                     ///< of one rank
  double target_seconds = 0;                ///< time per rank that is good enough
  bool counts_waiting = false;              ///< in the choice between divisions
  bool is_synchronous = false;  ///< every layer waits for all of its tokens, as experts do: nothing hides a late message
};

/// A whole sequence whose heads are divided among the ranks of a node, and its tokens among their home tokens.
struct HeadSplit {
  std::int64_t sequence = 0;
  std::vector<std::int64_t> heads;  ///< by rank
};

/// The division. Ring ranks are counted within the node.
struct NodeDivision {
  std::vector<Ring> rings;             ///< of whole sequences; one rank: local
  std::vector<double> cut_fraction;    ///< by rank: part of the node's cut attention; sums to 1 if there is any
  std::vector<HeadSplit> head_splits;  ///< of whole sequences that are in no ring
  std::vector<double> home_tokens;     ///< by rank; those of head splits included
  /// Of the slowest rank: attention and linear work; or linear work of rings and their messages; or the chain of cut sequences.
  double makespan_seconds = 0;
  double waiting_seconds = 0;  ///< what may come on top: start of messages, and attention that home tokens wait for
  bool keeps_cap = true;
};

/// Divides a node's load: sequences longest first to the rank of least time, or, above a threshold, on the smallest ring that
/// levels work or attention, on every rank, or, on a node without home tokens, its heads on every rank; then cut attention and
/// home tokens fill the ranks to one level, after shares have moved between the members of each ring where the target is missed.
/// Tries a fixed list of thresholds until one meets the target. Cost: n log n + n * P log P for each threshold tried.
NodeDivision divide_node(const NodeLoad& load);

}  // namespace ballast::scheduler
