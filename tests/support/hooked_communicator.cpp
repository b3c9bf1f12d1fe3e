#include "tests/support/hooked_communicator.h"

#include <utility>

namespace ballast::support {

using namespace comm;

HookedCommunicator::HookedCommunicator(Communicator& inner, Hook before_exchange)
    : Communicator(inner.rank(), inner.size()), inner_(inner), before_exchange_(std::move(before_exchange)) {
  set_deadline(inner.deadline());
}

HookedCommunicator::HookedCommunicator(std::unique_ptr<Communicator> inner, Hook before_exchange, int part)
    : Communicator(inner->rank(), inner->size()),
      owned_(std::move(inner)),
      inner_(*owned_),
      before_exchange_(std::move(before_exchange)),
      part_(part) {
  set_deadline(inner_.deadline());
}

Pending HookedCommunicator::start_all_reduce(Buffer values, ReduceOp op) { return inner_.all_reduce(values, op); }

Pending HookedCommunicator::start_all_gather(ConstBuffer send, Buffer receive, std::span<const std::int64_t> counts) {
  return inner_.all_gather(send, receive, counts);
}

Pending HookedCommunicator::start_reduce_scatter(ConstBuffer send, Buffer receive, std::span<const std::int64_t> counts,
                                                 ReduceOp op) {
  return inner_.reduce_scatter(send, receive, counts, op);
}

Pending HookedCommunicator::start_all_to_all(ConstBuffer send, std::span<const std::int64_t> send_counts, Buffer receive,
                                             std::span<const std::int64_t> receive_counts) {
  return inner_.all_to_all(send, send_counts, receive, receive_counts);
}

Pending HookedCommunicator::start_broadcast(Buffer values, int root) { return inner_.broadcast(values, root); }

Pending HookedCommunicator::start_exchange(std::span<const Send> sends, std::span<const Receive> receives) {
  before_exchange_(part_, sends, receives);
  return inner_.exchange(sends, receives);
}

Pending HookedCommunicator::start_barrier() {
  inner_.barrier();
  return Pending();
}

std::unique_ptr<Communicator> HookedCommunicator::do_split(int color, int key) {
  ++num_parts_;
  std::unique_ptr<Communicator> part = inner_.split(color, key);
  if (!part) return nullptr;
  return std::unique_ptr<Communicator>(new HookedCommunicator(std::move(part), before_exchange_, num_parts_));
}

}  // namespace ballast::support
