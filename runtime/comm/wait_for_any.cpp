#include "runtime/comm/wait_for_any.h"

#include "runtime/comm/backoff.h"

namespace ballast::comm {

void wait_for_any(std::span<Pending* const> pending, std::chrono::duration<double> deadline) {
  const Pending::Clock::time_point begin = Pending::Clock::now();
  if (pending.size() == 1) return pending.front()->wait(begin);
  Backoff backoff;
  for (;;) {
    for (Pending* const one : pending) {
      if (one->poll()) return;
    }
    if (Pending::Clock::now() - begin > deadline) return pending.front()->wait(begin);
    backoff.pause();
  }
}

}  // namespace ballast::comm
