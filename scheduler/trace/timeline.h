#pragma once
// What ran when and where: one form for simulated and real steps.
#include <cstdint>
#include <string>
#include <vector>

#include "scheduler/plan/expand.h"

namespace ballast::scheduler {

/// What a span occupies: something of a rank, or of a card group.
enum class Lane : char { kCompute, kNodeSend, kNodeReceive, kNicSend, kNicReceive };

enum class Work : char {
  kProjections,  ///< queries, keys and values
  kFeedForward,  ///< what follows attention in a layer, its output projection included
  kHead,
  kWeightGradients,  ///< of a layer, after the gradients of its inputs
  kAttention,
  kDispatch,  ///< the stages of an attention exchange
  kRotate,
  kRotateGradients,
  kReturn,
};

struct Span {
  Lane lane = Lane::kCompute;
  Work work = Work::kAttention;
  Pass pass = Pass::kForward;
  int owner = 0;  ///< rank, or index of the card group for the lanes of cards
  int micro_batch = 0;
  int layer = 0;
  int queue = 0;
  int round = 0;
  int peer = -1;               ///< other end of a message
  int rank = 0;                ///< own end of a message; the computing rank
  std::int64_t sequence = -1;  ///< of attention; -1: several
  std::int64_t bytes = 0;      ///< of a message
  double begin_seconds = 0;
  double end_seconds = 0;
  bool operator==(const Span&) const = default;
};

/// A step, or part of one.
struct Timeline {
  std::string name;
  std::vector<int> node_of_rank;
  std::vector<int> node_of_nic_group;
  std::vector<Span> spans;  ///< in any order
};

}  // namespace ballast::scheduler
