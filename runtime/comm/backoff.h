#pragma once
// The pause between two polls.
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace ballast::comm {

/// Lets others work: gives the core away, and sleeps when nothing comes.
class Backoff {
 public:
  void pause() {
    if (num_yields_ < kNumYields) {
      ++num_yields_;
      sched_yield();
      return;
    }
    std::this_thread::sleep_for(sleep_);
    sleep_ = std::min(2 * sleep_, kLongestSleep);
  }

 private:
  static constexpr int kNumYields = 200;
  static constexpr std::chrono::microseconds kLongestSleep{500};
  int num_yields_ = 0;
  std::chrono::microseconds sleep_{20};
};

}  // namespace ballast::comm
