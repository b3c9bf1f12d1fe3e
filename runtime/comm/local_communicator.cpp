#include "runtime/comm/local_communicator.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <numeric>
#include <optional>
#include <tuple>

#include "runtime/comm/deadline.h"
#include "runtime/comm/reduction.h"

namespace ballast::comm {
namespace {

struct Group;

// What one rank brings to a collective.
struct Contribution {
  ConstBuffer send = {};
  Buffer receive = {};
  std::vector<std::int64_t> send_counts = {};
  std::vector<std::int64_t> receive_counts = {};
  int color = -1;
  int key = 0;
  std::shared_ptr<Group> part = {};  // outcome of a split
  int part_rank = -1;
};

// One collective. The rank that arrives last does the work of all.
struct Meeting {
  std::string call;  // what the first rank to arrive called; the others must have called the same
  int first_rank = 0;
  std::vector<std::optional<Contribution>> contributions;
  int num_arrived = 0;
  bool is_done = false;
};

// One side of a point-to-point transfer; both sides of a pair wait in order until the other is posted.
struct Half {
  int peer = 0;
  bool is_send = false;
  const void* read = nullptr;
  void* written = nullptr;
  std::int64_t num_bytes = 0;
  bool is_done = false;
};

// What the ranks of one communicator share. `mutex` guards everything, copies included: a buffer is touched only while its
// operation is known to be alive.
struct Group {
  explicit Group(int num_ranks)
      : size(num_ranks),
        num_started(static_cast<std::size_t>(num_ranks)),
        has_left(static_cast<std::size_t>(num_ranks)),
        sends(static_cast<std::size_t>(num_ranks) * static_cast<std::size_t>(num_ranks)),
        receives(sends.size()) {}

  const int size;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::int64_t> num_started;  // collectives, by rank
  std::vector<bool> has_left;
  std::map<std::int64_t, std::shared_ptr<Meeting>> meetings;
  std::vector<std::deque<Half*>> sends;  // posted and unmatched, by source * size + destination
  std::vector<std::deque<Half*>> receives;
  std::string failure;  // once set, no buffer is touched again
  bool is_abandoned = false;

  std::size_t pair(int source, int destination) const {
    return static_cast<std::size_t>(source) * static_cast<std::size_t>(size) + static_cast<std::size_t>(destination);
  }
  void fail(std::string text) {
    if (failure.empty()) failure = std::move(text);
    changed.notify_all();
  }
};

using Work = std::function<void(std::vector<std::optional<Contribution>>&)>;

// An operation in flight of one rank.
class LocalOperation : public Pending::Operation {
 public:
  LocalOperation(std::shared_ptr<Group> group, int rank, std::string call, std::chrono::duration<double> deadline)
      : group_(std::move(group)), rank_(rank), call_(std::move(call)), deadline_(deadline) {}

  bool poll() override {
    const std::lock_guard lock(group_->mutex);
    return settle();
  }

  void wait(Pending::Clock::time_point since) override {
    std::unique_lock lock(group_->mutex);
    const auto end = since + std::chrono::duration_cast<std::chrono::nanoseconds>(deadline_);
    if (!group_->changed.wait_until(lock, end, [this] { return settle(); })) {
      throw DeadlineError(deadline_text(call_, rank_, group_->size, deadline_, missing()));
    }
  }

 protected:
  // All of these run under the group's mutex.
  virtual bool is_done() const = 0;
  virtual std::vector<int> missing() const = 0;
  virtual void withdraw() = 0;

  // The destructor of the most derived class calls this while its members are alive.
  void abandon() {
    const std::lock_guard lock(group_->mutex);
    if (is_done()) return;
    withdraw();
    if (group_->failure.empty()) group_->is_abandoned = true;
    group_->fail(fmt::format("rank {} of {} abandoned its {}", rank_, group_->size, call_));
  }

  Group& group() { return *group_; }
  const Group& group() const { return *group_; }
  int rank() const { return rank_; }

 private:
  // True when done; throws when it cannot be done any more.
  bool settle() {
    if (is_done()) return true;
    const auto text = [this](std::string_view reason) {
      return fmt::format("{} on rank {} of {} cannot finish: {}", call_, rank_, group_->size, reason);
    };
    if (group_->is_abandoned) throw PeerLeftError(text(group_->failure));
    if (!group_->failure.empty()) throw CommError(text(group_->failure));
    for (const int peer : missing()) {
      if (group_->has_left[static_cast<std::size_t>(peer)]) throw PeerLeftError(text(fmt::format("rank {} has left", peer)));
    }
    return false;
  }

  std::shared_ptr<Group> group_;
  int rank_;
  std::string call_;
  std::chrono::duration<double> deadline_;
};

class CollectiveOperation : public LocalOperation {
 public:
  CollectiveOperation(std::shared_ptr<Group> group, int rank, std::string call, std::chrono::duration<double> deadline,
                      std::shared_ptr<Meeting> meeting)
      : LocalOperation(std::move(group), rank, std::move(call), deadline), meeting_(std::move(meeting)) {}
  ~CollectiveOperation() override { abandon(); }

  // What a finished collective left for this rank.
  Contribution& outcome() { return *meeting_->contributions[static_cast<std::size_t>(rank())]; }

 private:
  bool is_done() const override { return meeting_->is_done; }
  std::vector<int> missing() const override {
    std::vector<int> ranks;
    for (int r = 0; r < group().size; ++r) {
      if (!meeting_->contributions[static_cast<std::size_t>(r)]) ranks.push_back(r);
    }
    return ranks;
  }
  void withdraw() override {}  // the group's failure keeps the last to arrive from working

  std::shared_ptr<Meeting> meeting_;
};

class ExchangeOperation : public LocalOperation {
 public:
  ExchangeOperation(std::shared_ptr<Group> group, int rank, std::string call, std::chrono::duration<double> deadline,
                    std::vector<Half> halves)
      : LocalOperation(std::move(group), rank, std::move(call), deadline), halves_(std::move(halves)) {}
  ~ExchangeOperation() override { abandon(); }

  void post() {
    const std::lock_guard lock(group().mutex);
    for (Half& half : halves_) {
      if (!group().failure.empty()) return;  // wait() reports it
      auto& counterparts = queue(half, !half.is_send);
      if (counterparts.empty()) {
        queue(half, half.is_send).push_back(&half);
        continue;
      }
      Half& counterpart = *counterparts.front();
      counterparts.pop_front();
      match(half.is_send ? half : counterpart, half.is_send ? counterpart : half);
    }
    group().changed.notify_all();
  }

 private:
  std::deque<Half*>& queue(const Half& half, bool of_sends) {
    const std::size_t pair = half.is_send ? group().pair(rank(), half.peer) : group().pair(half.peer, rank());
    return of_sends ? group().sends[pair] : group().receives[pair];
  }

  // `send.peer` is the receiving rank and `receive.peer` the sending one.
  void match(Half& send, Half& receive) {
    if (send.num_bytes != receive.num_bytes) {
      group().fail(fmt::format("exchange: rank {} sends {} bytes to rank {}, which receives {}", receive.peer, send.num_bytes,
                               send.peer, receive.num_bytes));
      return;
    }
    std::memcpy(receive.written, send.read, static_cast<std::size_t>(send.num_bytes));
    send.is_done = receive.is_done = true;
  }

  bool is_done() const override { return std::ranges::all_of(halves_, &Half::is_done); }
  std::vector<int> missing() const override {
    std::vector<int> ranks;
    for (const Half& half : halves_) {
      if (!half.is_done) ranks.push_back(half.peer);
    }
    std::ranges::sort(ranks);
    ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
    return ranks;
  }
  void withdraw() override {
    for (const Half& half : halves_) std::erase(queue(half, half.is_send), &half);
  }

  std::vector<Half> halves_;
};

class LocalCommunicator : public Communicator {
 public:
  LocalCommunicator(std::shared_ptr<Group> group, int rank) : Communicator(rank, group->size), group_(std::move(group)) {}
  ~LocalCommunicator() override {
    const std::lock_guard lock(group_->mutex);
    group_->has_left[static_cast<std::size_t>(rank())] = true;
    group_->changed.notify_all();
  }

 private:
  using Contributions = std::vector<std::optional<Contribution>>;

  // `call` must be equal on all ranks; `detail` completes it in the messages of this rank.
  std::unique_ptr<CollectiveOperation> meet(const std::string& call, const std::string& detail, Contribution contribution,
                                            const Work& work) {
    const std::lock_guard lock(group_->mutex);
    const std::int64_t number = group_->num_started[static_cast<std::size_t>(rank())]++;
    std::shared_ptr<Meeting>& slot = group_->meetings[number];
    if (!slot) {
      slot = std::make_shared<Meeting>();
      slot->call = call;
      slot->first_rank = rank();
      slot->contributions.resize(static_cast<std::size_t>(size()));
    }
    const std::shared_ptr<Meeting> meeting = slot;
    auto operation = std::make_unique<CollectiveOperation>(group_, rank(), call + detail, deadline(), meeting);
    if (meeting->call != call) {
      group_->fail(fmt::format("collective number {} is {} on rank {} and {} on rank {}", number, meeting->call,
                               meeting->first_rank, call, rank()));
    }
    meeting->contributions[static_cast<std::size_t>(rank())] = std::move(contribution);
    if (++meeting->num_arrived == size()) group_->meetings.erase(number);
    if (meeting->num_arrived == size() && group_->failure.empty()) {
      work(meeting->contributions);
      meeting->is_done = group_->failure.empty();
      group_->changed.notify_all();
    }
    return operation;
  }

  Pending start_all_reduce(Buffer values, ReduceOp op) override {
    return Pending(
        meet(fmt::format("all_reduce {} of {} bytes ({} {})", name(op), values.num_bytes(), values.count, name(values.dtype)), "",
             {.send = values, .receive = values}, [op](Contributions& all) {
               const Buffer& first = all[0]->receive;
               std::vector<const void*> sources;
               for (const auto& one : all) sources.push_back(one->send.data);
               reduce_in_rank_order(sources, first.data, first.count, first.dtype, op);
               for (const auto& one : all) copy(first.data, one->receive.data, first.num_bytes());
             }));
  }

  Pending start_all_gather(ConstBuffer send, Buffer receive, std::span<const std::int64_t> counts) override {
    return Pending(meet(fmt::format("all_gather of {} bytes ({} {}, counts {})", receive.num_bytes(), receive.count,
                                    name(receive.dtype), fmt::join(counts, " ")),
                        "", {.send = send, .receive = receive}, [](Contributions& all) {
                          for (const auto& to : all) {
                            auto* run = static_cast<std::byte*>(to->receive.data);
                            for (const auto& from : all) {
                              copy(from->send.data, run, from->send.num_bytes());
                              run += from->send.num_bytes();
                            }
                          }
                        }));
  }

  Pending start_reduce_scatter(ConstBuffer send, Buffer receive, std::span<const std::int64_t> counts, ReduceOp op) override {
    return Pending(meet(fmt::format("reduce_scatter {} of {} bytes ({} {}, counts {})", name(op), send.num_bytes(), send.count,
                                    name(send.dtype), fmt::join(counts, " ")),
                        "", {.send = send, .receive = receive}, [op](Contributions& all) {
                          std::vector<const void*> sources;
                          for (const auto& one : all) sources.push_back(one->send.data);
                          for (const auto& to : all) {
                            reduce_in_rank_order(sources, to->receive.data, to->receive.count, to->receive.dtype, op);
                            for (const void*& source : sources) {
                              source = static_cast<const std::byte*>(source) + to->receive.num_bytes();
                            }
                          }
                        }));
  }

  Pending start_all_to_all(ConstBuffer send, std::span<const std::int64_t> send_counts, Buffer receive,
                           std::span<const std::int64_t> receive_counts) override {
    Group* const group = group_.get();
    return Pending(meet(fmt::format("all_to_all of {}", name(send.dtype)),
                        fmt::format(" ({} bytes sent, {} received)", send.num_bytes(), receive.num_bytes()),
                        {.send = send,
                         .receive = receive,
                         .send_counts = {send_counts.begin(), send_counts.end()},
                         .receive_counts = {receive_counts.begin(), receive_counts.end()}},
                        [group](Contributions& all) { transpose(*group, all); }));
  }

  static void transpose(Group& group, Contributions& all) {
    for (std::size_t from = 0; from < all.size(); ++from) {
      for (std::size_t to = 0; to < all.size(); ++to) {
        if (all[from]->send_counts[to] != all[to]->receive_counts[from]) {
          return group.fail(fmt::format("all_to_all: rank {} sends {} elements to rank {}, which receives {}", from,
                                        all[from]->send_counts[to], to, all[to]->receive_counts[from]));
        }
      }
    }
    std::vector<std::byte*> run;
    for (const auto& one : all) run.push_back(static_cast<std::byte*>(one->receive.data));
    for (const auto& from : all) {
      const auto* piece = static_cast<const std::byte*>(from->send.data);
      for (std::size_t to = 0; to < all.size(); ++to) {
        const std::int64_t num_bytes = from->send_counts[to] * size_in_bytes(from->send.dtype);
        copy(piece, run[to], num_bytes);
        piece += num_bytes;
        run[to] += num_bytes;
      }
    }
  }

  Pending start_broadcast(Buffer values, int root) override {
    return Pending(meet(
        fmt::format("broadcast of {} bytes ({} {}) from rank {}", values.num_bytes(), values.count, name(values.dtype), root), "",
        {.send = values, .receive = values}, [root](Contributions& all) {
          const ConstBuffer& source = all[static_cast<std::size_t>(root)]->send;
          for (const auto& one : all) copy(source.data, one->receive.data, source.num_bytes());
        }));
  }

  Pending start_exchange(std::span<const Send> sends, std::span<const Receive> receives) override {
    std::vector<Half> halves;
    std::int64_t num_sent_bytes = 0;
    std::int64_t num_received_bytes = 0;
    for (const auto& [peer, buffer] : sends) {
      halves.push_back({.peer = peer, .is_send = true, .read = buffer.data, .num_bytes = buffer.num_bytes()});
      num_sent_bytes += buffer.num_bytes();
    }
    for (const auto& [peer, buffer] : receives) {
      halves.push_back({.peer = peer, .written = buffer.data, .num_bytes = buffer.num_bytes()});
      num_received_bytes += buffer.num_bytes();
    }
    auto operation = std::make_unique<ExchangeOperation>(
        group_, rank(), fmt::format("exchange of {} bytes sent and {} received", num_sent_bytes, num_received_bytes), deadline(),
        std::move(halves));
    operation->post();
    return Pending(std::move(operation));
  }

  Pending start_barrier() override {
    return Pending(meet("barrier", "", {}, [](Contributions&) {}));
  }

  std::unique_ptr<Communicator> do_split(int color, int key) override {
    const auto operation = meet("split", "", {.color = color, .key = key}, [](Contributions& all) {
      std::map<int, std::vector<std::tuple<int, std::size_t>>> parts;
      for (std::size_t r = 0; r < all.size(); ++r) {
        if (all[r]->color >= 0) parts[all[r]->color].emplace_back(all[r]->key, r);
      }
      for (auto& [part_color, members] : parts) {
        std::ranges::sort(members);
        const auto part = std::make_shared<Group>(static_cast<int>(members.size()));
        for (std::size_t i = 0; i < members.size(); ++i) {
          Contribution& member = *all[std::get<1>(members[i])];
          member.part = part;
          member.part_rank = static_cast<int>(i);
        }
      }
    });
    operation->wait(Pending::Clock::now());
    const Contribution& mine = operation->outcome();
    return mine.part ? std::make_unique<LocalCommunicator>(mine.part, mine.part_rank) : nullptr;
  }

  static void copy(const void* from, void* to, std::int64_t num_bytes) {
    if (num_bytes > 0 && from != to) std::memcpy(to, from, static_cast<std::size_t>(num_bytes));
  }

  std::shared_ptr<Group> group_;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_local_world(int num_ranks) {
  if (num_ranks < 1) {
    throw std::invalid_argument(fmt::format("make_local_world: {} ranks; at least 1 is wanted", num_ranks));
  }
  const auto group = std::make_shared<Group>(num_ranks);
  std::vector<std::unique_ptr<Communicator>> world;
  for (int rank = 0; rank < num_ranks; ++rank) world.push_back(std::make_unique<LocalCommunicator>(group, rank));
  return world;
}

}  // namespace ballast::comm
