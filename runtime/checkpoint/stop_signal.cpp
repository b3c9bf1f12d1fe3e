#include "runtime/checkpoint/stop_signal.h"

#include <fmt/format.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <stdexcept>

namespace ballast::checkpoint {
namespace {

constexpr std::array kSignals = {SIGTERM, SIGUSR1, SIGINT};
std::array<struct sigaction, kSignals.size()> former_actions;
std::atomic<bool> is_listening = false;
std::atomic<int> num_interrupts = 0;
std::atomic<int> last_signal = 0;
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may only touch lock-free atomics");

void on_signal(int number) {
  if (number == SIGINT) num_interrupts.fetch_add(1, std::memory_order_relaxed);
  last_signal.store(number, std::memory_order_relaxed);
}

}  // namespace

StopSignal::StopSignal() {
  if (is_listening.exchange(true)) throw std::logic_error("StopSignal: another one already listens in this process");
  num_interrupts = 0;
  last_signal = 0;
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;  // library calls of a step must not fail because somebody asked to stop after it
  sigemptyset(&action.sa_mask);
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    if (sigaction(kSignals[i], &action, &former_actions[i]) == 0) continue;
    const int code = errno;
    for (std::size_t done = 0; done < i; ++done) sigaction(kSignals[done], &former_actions[done], nullptr);
    is_listening = false;
    throw std::runtime_error(fmt::format("sigaction({}): {}", kSignals[i], std::strerror(code)));
  }
}

StopSignal::~StopSignal() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &former_actions[i], nullptr);
  is_listening = false;
}

StopRequest StopSignal::requested() const {
  if (num_interrupts.load(std::memory_order_relaxed) >= 2) return StopRequest::kStopNow;
  return last_signal.load(std::memory_order_relaxed) == 0 ? StopRequest::kNone : StopRequest::kSaveAndStop;
}

const char* StopSignal::name() const {
  switch (last_signal.load(std::memory_order_relaxed)) {
    case SIGTERM:
      return "SIGTERM";
    case SIGUSR1:
      return "SIGUSR1";
    case SIGINT:
      return "SIGINT";
    default:
      return "none";
  }
}

}  // namespace ballast::checkpoint
