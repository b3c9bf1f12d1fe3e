#pragma once
// A communicator that a test can look into and hold back.
#include <functional>
#include <memory>
#include <span>

#include "runtime/comm/communicator.h"

namespace ballast::support {

/// Forwards every call to `inner`, which must outlive it; exchanges after `before_exchange` has returned.
class HookedCommunicator : public comm::Communicator {
 public:
  /// Input: `part` is 0 for the hooked communicator; its parts are numbered in the order in which they are split off.
  using Hook = std::function<void(int part, std::span<const comm::Send> sends, std::span<const comm::Receive> receives)>;
  HookedCommunicator(comm::Communicator& inner, Hook before_exchange);

 private:
  HookedCommunicator(std::unique_ptr<comm::Communicator> inner, Hook before_exchange, int part);

  comm::Pending start_all_reduce(comm::Buffer values, comm::ReduceOp op) override;
  comm::Pending start_all_gather(comm::ConstBuffer send, comm::Buffer receive, std::span<const std::int64_t> counts) override;
  comm::Pending start_reduce_scatter(comm::ConstBuffer send, comm::Buffer receive, std::span<const std::int64_t> counts,
                                     comm::ReduceOp op) override;
  comm::Pending start_all_to_all(comm::ConstBuffer send, std::span<const std::int64_t> send_counts, comm::Buffer receive,
                                 std::span<const std::int64_t> receive_counts) override;
  comm::Pending start_broadcast(comm::Buffer values, int root) override;
  comm::Pending start_exchange(std::span<const comm::Send> sends, std::span<const comm::Receive> receives) override;
  comm::Pending start_barrier() override;
  std::unique_ptr<comm::Communicator> do_split(int color, int key) override;

  std::unique_ptr<comm::Communicator> owned_;  // of a part
  comm::Communicator& inner_;
  Hook before_exchange_;
  int part_ = 0;
  int num_parts_ = 0;
};

}  // namespace ballast::support
