#pragma once
#include <string>

#include "runtime/comm/communicator.h"

namespace ballast::comm {

/// Gives every rank the text of `root`, of any length; what the others pass is ignored. Collective.
std::string broadcast_text(Communicator& world, std::string text, int root);

}  // namespace ballast::comm
