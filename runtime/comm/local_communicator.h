#pragma once
// Ranks are threads of this process. Always built; the default of tests.
#include <memory>
#include <vector>

#include "runtime/comm/communicator.h"

namespace ballast::comm {

/// A call cannot finish because a peer left the world or abandoned its part: look for the cause there.
class PeerLeftError : public CommError {
 public:
  using CommError::CommError;
};

/// A world of `num_ranks` communicators, one for each thread that plays a rank. Buffers are read and written in place, by the
/// rank that arrives last, so a call finishes only when its peers have made theirs. A rank whose communicator is destroyed has
/// left: peers that still need it get a PeerLeftError instead of waiting for the deadline.
/// Throws: std::invalid_argument unless num_ranks >= 1.
std::vector<std::unique_ptr<Communicator>> make_local_world(int num_ranks);

}  // namespace ballast::comm
