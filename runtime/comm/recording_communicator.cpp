#include "runtime/comm/recording_communicator.h"

#include <numeric>

namespace ballast::comm {

struct RecordingCommunicator::Log {
  std::vector<Record> records;
  std::int64_t num_calls = 0;
  int num_communicators = 1;
};

RecordingCommunicator::RecordingCommunicator(Communicator& inner)
    : Communicator(inner.rank(), inner.size()),
      inner_(inner),
      outer_ranks_(static_cast<std::size_t>(inner.size())),
      log_(std::make_shared<Log>()),
      number_(0) {
  std::iota(outer_ranks_.begin(), outer_ranks_.end(), 0);
  set_deadline(inner.deadline());
}

RecordingCommunicator::RecordingCommunicator(std::unique_ptr<Communicator> inner, std::vector<int> outer_ranks,
                                             std::shared_ptr<Log> log, int number)
    : Communicator(inner->rank(), inner->size()),
      owned_(std::move(inner)),
      inner_(*owned_),
      outer_ranks_(std::move(outer_ranks)),
      log_(std::move(log)),
      number_(number) {}

const std::vector<Record>& RecordingCommunicator::records() const { return log_->records; }

void RecordingCommunicator::clear() { log_->records.clear(); }

void RecordingCommunicator::add(const char* operation, int peer, std::int64_t num_bytes) {
  const int outer_peer = peer < 0 ? -1 : outer_ranks_[static_cast<std::size_t>(peer)];
  log_->records.push_back({log_->num_calls, number_, operation, outer_peer, num_bytes});
}

// Records a call of one record and returns where it goes.
Communicator& RecordingCommunicator::forward(const char* operation, int peer, std::int64_t num_bytes) {
  add(operation, peer, num_bytes);
  ++log_->num_calls;
  inner_.set_deadline(deadline());
  return inner_;
}

Pending RecordingCommunicator::start_all_reduce(Buffer values, ReduceOp op) {
  return forward("all_reduce", -1, values.num_bytes()).all_reduce(values, op);
}

Pending RecordingCommunicator::start_all_gather(ConstBuffer send, Buffer receive, std::span<const std::int64_t> counts) {
  return forward("all_gather", -1, send.num_bytes()).all_gather(send, receive, counts);
}

Pending RecordingCommunicator::start_reduce_scatter(ConstBuffer send, Buffer receive, std::span<const std::int64_t> counts,
                                                    ReduceOp op) {
  return forward("reduce_scatter", -1, send.num_bytes()).reduce_scatter(send, receive, counts, op);
}

Pending RecordingCommunicator::start_all_to_all(ConstBuffer send, std::span<const std::int64_t> send_counts, Buffer receive,
                                                std::span<const std::int64_t> receive_counts) {
  return forward("all_to_all", -1, send.num_bytes()).all_to_all(send, send_counts, receive, receive_counts);
}

Pending RecordingCommunicator::start_broadcast(Buffer values, int root) {
  return forward("broadcast", root, values.num_bytes()).broadcast(values, root);
}

Pending RecordingCommunicator::start_exchange(std::span<const Send> sends, std::span<const Receive> receives) {
  for (const Send& send : sends) add("send", send.peer, send.buffer.num_bytes());
  for (const Receive& receive : receives) add("receive", receive.peer, receive.buffer.num_bytes());
  ++log_->num_calls;
  inner_.set_deadline(deadline());
  return inner_.exchange(sends, receives);
}

Pending RecordingCommunicator::start_barrier() {
  forward("barrier", -1, 0).barrier();
  return Pending();
}

std::unique_ptr<Communicator> RecordingCommunicator::do_split(int color, int key) {
  std::unique_ptr<Communicator> part = forward("split", -1, 0).split(color, key);
  const int number = log_->num_communicators++;
  if (!part) return nullptr;
  const std::vector<std::int32_t> own{outer_ranks_[static_cast<std::size_t>(rank())]};
  std::vector<std::int32_t> members(static_cast<std::size_t>(part->size()));
  part->all_gather(buffer(own), buffer(members), std::vector<std::int64_t>(members.size(), 1)).wait();
  return std::unique_ptr<Communicator>(
      new RecordingCommunicator(std::move(part), {members.begin(), members.end()}, log_, number));
}

}  // namespace ballast::comm
