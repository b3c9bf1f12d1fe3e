#pragma once
// Writes down what a rank sends and receives, so that it can be compared with what a plan says.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/comm/communicator.h"

namespace ballast::comm {

/// One message, or this rank's part of one collective.
struct Record {
  std::int64_t call = 0;       ///< which call of the log; the transfers of one exchange share theirs
  int communicator = 0;        ///< 0 = the recorded one; parts are numbered by the calls of split, equal on all ranks
  std::string operation = {};  ///< "all_reduce", ..., "barrier", "split"; "send" and "receive" of an exchange
  int peer = -1;               ///< of a send or receive, or the root, as a rank of communicator 0; -1 where there is none
  std::int64_t num_bytes = 0;  ///< of the message; of a collective, what this rank gives (broadcast: the buffer)
  bool operator==(const Record&) const = default;
};

/// Forwards every call to `inner`, which must outlive it, and records it first. Only what leaves the rank is recorded: no empty
/// transfers, none of the rank to itself, and nothing on a communicator of size one. Parts that are split off record into the
/// same log.
class RecordingCommunicator : public Communicator {
 public:
  explicit RecordingCommunicator(Communicator& inner);

  /// In order of the calls; inside an exchange sends first.
  const std::vector<Record>& records() const;
  /// Forgets the records; numbers of calls go on.
  void clear();

 private:
  struct Log;
  RecordingCommunicator(std::unique_ptr<Communicator> inner, std::vector<int> outer_ranks, std::shared_ptr<Log> log, int number);

  Communicator& forward(const char* operation, int peer, std::int64_t num_bytes);
  void add(const char* operation, int peer, std::int64_t num_bytes);

  Pending start_all_reduce(Buffer values, ReduceOp op) override;
  Pending start_all_gather(ConstBuffer send, Buffer receive, std::span<const std::int64_t> counts) override;
  Pending start_reduce_scatter(ConstBuffer send, Buffer receive, std::span<const std::int64_t> counts, ReduceOp op) override;
  Pending start_all_to_all(ConstBuffer send, std::span<const std::int64_t> send_counts, Buffer receive,
                           std::span<const std::int64_t> receive_counts) override;
  Pending start_broadcast(Buffer values, int root) override;
  Pending start_exchange(std::span<const Send> sends, std::span<const Receive> receives) override;
  Pending start_barrier() override;
  std::unique_ptr<Communicator> do_split(int color, int key) override;

  std::unique_ptr<Communicator> owned_;  // of a part
  Communicator& inner_;
  std::vector<int> outer_ranks_;  // rank here -> rank of communicator 0
  std::shared_ptr<Log> log_;
  int number_;
};

}  // namespace ballast::comm
