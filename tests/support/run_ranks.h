#pragma once
// Ranks as threads, for tests.
#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>

#include "runtime/comm/communicator.h"

namespace ballast::support {

/// What a rank of run_ranks threw; `what()` is "rank r: " and its text.
class RankError : public std::runtime_error {
 public:
  RankError(int rank, const std::string& text);
  int rank() const { return rank_; }

 private:
  int rank_;
};

/// Runs `fn` on `num_ranks` threads, each with its communicator of one local world. A rank that returns or throws leaves the
/// world, so its peers end too.
/// Throws: RankError of the rank that failed first; one that only lost a peer (PeerLeftError) when there is no other.
void run_ranks(int num_ranks, const std::function<void(comm::Communicator&)>& fn,
               std::chrono::duration<double> deadline = std::chrono::seconds(120));

}  // namespace ballast::support
