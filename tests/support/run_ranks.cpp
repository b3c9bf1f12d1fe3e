#include "tests/support/run_ranks.h"

#include <fmt/format.h>

#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/comm/local_communicator.h"

namespace ballast::support {

RankError::RankError(int rank, const std::string& text)
    : std::runtime_error(fmt::format("rank {}: {}", rank, text)), rank_(rank) {}

void run_ranks(int num_ranks, const std::function<void(comm::Communicator&)>& fn, std::chrono::duration<double> deadline) {
  std::vector<std::unique_ptr<comm::Communicator>> world = comm::make_local_world(num_ranks);
  std::mutex mutex;
  std::optional<RankError> cause;
  std::optional<RankError> consequence;
  std::vector<std::jthread> threads;
  for (std::unique_ptr<comm::Communicator>& own : world) {
    threads.emplace_back([&mutex, &cause, &consequence, &fn, deadline, communicator = std::move(own)] {
      const auto record = [&](std::optional<RankError>& first, const std::string& text) {
        const std::lock_guard lock(mutex);
        if (!first) first.emplace(communicator->rank(), text);
      };
      try {
        communicator->set_deadline(deadline);
        fn(*communicator);
      } catch (const comm::PeerLeftError& error) {
        record(consequence, error.what());
      } catch (const std::exception& error) {
        record(cause, error.what());
      } catch (...) {
        record(cause, "something that is not a std::exception");
      }
    });
  }
  threads.clear();
  if (cause) throw *cause;
  if (consequence) throw *consequence;
}

}  // namespace ballast::support
