#include "runtime/comm/broadcast_text.h"

namespace ballast::comm {

std::string broadcast_text(Communicator& world, std::string text, int root) {
  auto size = static_cast<std::int64_t>(text.size());
  world.broadcast({&size, 1, Dtype::kInt64}, root).wait();
  text.resize(static_cast<std::size_t>(size));
  if (size > 0) world.broadcast({text.data(), size, Dtype::kUint8}, root).wait();
  return text;
}

}  // namespace ballast::comm
