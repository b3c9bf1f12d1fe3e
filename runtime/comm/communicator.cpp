#include "runtime/comm/communicator.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

namespace ballast::comm {

std::int64_t size_in_bytes(Dtype dtype) {
  switch (dtype) {
    case Dtype::kUint8:
      return 1;
    case Dtype::kBfloat16:
      return 2;
    case Dtype::kInt32:
    case Dtype::kFloat32:
      return 4;
    case Dtype::kInt64:
    case Dtype::kFloat64:
      return 8;
  }
  throw std::invalid_argument(fmt::format("size_in_bytes: {} is no Dtype", static_cast<int>(dtype)));
}

const char* name(Dtype dtype) {
  switch (dtype) {
    case Dtype::kUint8:
      return "uint8";
    case Dtype::kInt32:
      return "int32";
    case Dtype::kInt64:
      return "int64";
    case Dtype::kBfloat16:
      return "bfloat16";
    case Dtype::kFloat32:
      return "float32";
    case Dtype::kFloat64:
      return "float64";
  }
  throw std::invalid_argument(fmt::format("name: {} is no Dtype", static_cast<int>(dtype)));
}

const char* name(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      return "sum";
    case ReduceOp::kMax:
      return "max";
    case ReduceOp::kMin:
      return "min";
  }
  throw std::invalid_argument(fmt::format("name: {} is no ReduceOp", static_cast<int>(op)));
}

namespace {

// Checks the arguments of one call. Every text starts with operation and rank.
class Check {
 public:
  Check(const char* operation, const Communicator& communicator) : operation_(operation), communicator_(communicator) {}

  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> text, Args&&... args) const {
    throw std::invalid_argument(fmt::format("{} on rank {} of {}: {}", operation_, communicator_.rank(), communicator_.size(),
                                            fmt::format(text, std::forward<Args>(args)...)));
  }

  void memory(const char* what, const ConstBuffer& buffer) const {
    if (buffer.count < 0) fail("{} has {} elements; a count is at least 0", what, buffer.count);
    if (buffer.count > std::numeric_limits<std::int64_t>::max() / size_in_bytes(buffer.dtype)) {
      fail("{} has {} elements of {}, more bytes than 63 bits count", what, buffer.count, name(buffer.dtype));
    }
    if (buffer.count > 0 && buffer.data == nullptr) fail("{} has {} elements at a null pointer", what, buffer.count);
    if (buffer.device != Device::kHost) fail("{} lies in device memory; this backend takes host memory: copy it first", what);
  }

  void equal_dtypes(const ConstBuffer& send, const ConstBuffer& receive) const {
    if (send.dtype != receive.dtype) fail("send is {}, receive is {}; both must be equal", name(send.dtype), name(receive.dtype));
  }

  // One count per rank, none negative, `buffer` holds their sum.
  void counts(const char* what, std::span<const std::int64_t> counts, const char* buffer_name, const ConstBuffer& buffer) const {
    if (std::ssize(counts) != communicator_.size()) {
      fail("{} has {} entries; one per rank is wanted, {}", what, counts.size(), communicator_.size());
    }
    std::int64_t left = buffer.count;
    for (std::size_t r = 0; r < counts.size(); ++r) {
      if (counts[r] < 0) fail("{}[{}] is {}; a count is at least 0", what, r, counts[r]);
      if (counts[r] > left) {
        fail("{} = {} add up to more than the {} elements of {}", what, fmt::join(counts, " "), buffer.count, buffer_name);
      }
      left -= counts[r];
    }
    if (left != 0) {
      fail("{} = {} add up to {} elements, {} has {}", what, fmt::join(counts, " "), buffer.count - left, buffer_name,
           buffer.count);
    }
  }

  void own_count(const char* buffer_name, const ConstBuffer& buffer, std::span<const std::int64_t> counts) const {
    const std::int64_t own = counts[static_cast<std::size_t>(communicator_.rank())];
    if (buffer.count != own) fail("{} has {} elements, counts[{}] is {}", buffer_name, buffer.count, communicator_.rank(), own);
  }

  void peer(const char* what, int peer) const {
    if (peer < 0 || peer >= communicator_.size()) fail("{} is {}; ranks are 0 to {}", what, peer, communicator_.size() - 1);
  }

  void disjoint(const ConstBuffer& send, const ConstBuffer& receive, const char* exception) const {
    const auto* a = static_cast<const std::byte*>(send.data);
    const auto* b = static_cast<const std::byte*>(receive.data);
    if (send.num_bytes() == 0 || receive.num_bytes() == 0) return;
    if (a < b + receive.num_bytes() && b < a + send.num_bytes()) {
      fail("send ({} bytes) and receive ({} bytes) overlap; {}", send.num_bytes(), receive.num_bytes(), exception);
    }
  }

 private:
  const char* operation_;
  const Communicator& communicator_;
};

// Where this rank's run starts.
const std::byte* own_run(const ConstBuffer& whole, std::span<const std::int64_t> counts, int rank) {
  const std::int64_t begin = std::accumulate(counts.begin(), counts.begin() + rank, std::int64_t{0});
  return static_cast<const std::byte*>(whole.data) + begin * size_in_bytes(whole.dtype);
}

void copy(const ConstBuffer& from, const Buffer& to) {
  if (from.num_bytes() > 0) std::memmove(to.data, from.data, static_cast<std::size_t>(from.num_bytes()));
}

// Received bytes overlap neither each other nor sent ones. Sent ones may overlap each other.
void check_exchange_overlap(const Check& check, std::span<const Send> sends, std::span<const Receive> receives) {
  struct Interval {
    const std::byte* begin;
    const std::byte* end;
    bool is_written;
    int peer;
  };
  std::vector<Interval> intervals;
  intervals.reserve(sends.size() + receives.size());
  const auto add = [&](const ConstBuffer& buffer, bool is_written, int peer) {
    if (buffer.count == 0) return;
    const auto* begin = static_cast<const std::byte*>(buffer.data);
    intervals.push_back({begin, begin + buffer.num_bytes(), is_written, peer});
  };
  for (const Send& send : sends) add(send.buffer, false, send.peer);
  for (const Receive& receive : receives) add(receive.buffer, true, receive.peer);
  std::ranges::sort(intervals, {}, &Interval::begin);
  const Interval* last_written = nullptr;  // the furthest end of each kind so far
  const Interval* last_read = nullptr;
  const auto kind = [](const Interval& i) { return i.is_written ? "receive from" : "send to"; };
  for (const Interval& now : intervals) {
    for (const Interval* before : {last_written, now.is_written ? last_read : nullptr}) {
      if (before != nullptr && now.begin < before->end) {
        check.fail("{} rank {} and {} rank {} overlap in memory; what is received may overlap nothing", kind(*before),
                   before->peer, kind(now), now.peer);
      }
    }
    const Interval*& last = now.is_written ? last_written : last_read;
    if (last == nullptr || last->end < now.end) last = &now;
  }
}

}  // namespace

void Communicator::set_deadline(std::chrono::duration<double> deadline) {
  // Above a century the sum with a clock's present time could overflow.
  constexpr double kLongest = 3.2e9;
  if (!(deadline.count() > 0.0 && deadline.count() < kLongest)) {
    throw std::invalid_argument(fmt::format("set_deadline on rank {} of {}: {} seconds; more than 0 and less than {} are wanted",
                                            rank_, size_, deadline.count(), kLongest));
  }
  deadline_ = deadline;
}

Pending Communicator::all_reduce(Buffer values, ReduceOp op) {
  const Check check("all_reduce", *this);
  check.memory("values", values);
  if (size_ == 1) return Pending();
  return start_all_reduce(values, op);
}

Pending Communicator::all_gather(ConstBuffer send, Buffer receive, std::span<const std::int64_t> counts) {
  const Check check("all_gather", *this);
  check.memory("send", send);
  check.memory("receive", receive);
  check.equal_dtypes(send, receive);
  check.counts("counts", counts, "receive", receive);
  check.own_count("send", send, counts);
  if (send.data != own_run(receive, counts, rank_)) {
    check.disjoint(send, receive, "in place, send is exactly this rank's run of receive");
  }
  if (size_ == 1) {
    copy(send, receive);
    return Pending();
  }
  return start_all_gather(send, receive, counts);
}

Pending Communicator::reduce_scatter(ConstBuffer send, Buffer receive, std::span<const std::int64_t> counts, ReduceOp op) {
  const Check check("reduce_scatter", *this);
  check.memory("send", send);
  check.memory("receive", receive);
  check.equal_dtypes(send, receive);
  check.counts("counts", counts, "send", send);
  check.own_count("receive", receive, counts);
  if (receive.data != own_run(send, counts, rank_)) {
    check.disjoint(send, receive, "in place, receive is exactly this rank's run of send");
  }
  if (size_ == 1) {
    copy(send, receive);
    return Pending();
  }
  return start_reduce_scatter(send, receive, counts, op);
}

Pending Communicator::all_to_all(ConstBuffer send, std::span<const std::int64_t> send_counts, Buffer receive,
                                 std::span<const std::int64_t> receive_counts) {
  const Check check("all_to_all", *this);
  check.memory("send", send);
  check.memory("receive", receive);
  check.equal_dtypes(send, receive);
  check.counts("send_counts", send_counts, "send", send);
  check.counts("receive_counts", receive_counts, "receive", receive);
  const auto own = static_cast<std::size_t>(rank_);
  if (send_counts[own] != receive_counts[own]) {
    check.fail("send_counts[{}] is {}, receive_counts[{}] is {}; what a rank sends to itself it also receives", rank_,
               send_counts[own], rank_, receive_counts[own]);
  }
  check.disjoint(send, receive, "use two buffers");
  if (size_ == 1) {
    copy(send, receive);
    return Pending();
  }
  return start_all_to_all(send, send_counts, receive, receive_counts);
}

Pending Communicator::broadcast(Buffer values, int root) {
  const Check check("broadcast", *this);
  check.memory("values", values);
  check.peer("root", root);
  if (size_ == 1) return Pending();
  return start_broadcast(values, root);
}

Pending Communicator::exchange(std::span<const Send> sends, std::span<const Receive> receives) {
  const Check check("exchange", *this);
  std::vector<Send> remote_sends;
  std::vector<Receive> remote_receives;
  std::vector<ConstBuffer> own_sends;
  std::vector<Buffer> own_receives;
  for (const Send& send : sends) {
    check.peer("peer of a send", send.peer);
    check.memory("a send", send.buffer);
    if (send.buffer.count == 0) continue;
    if (send.peer == rank_) {
      own_sends.push_back(send.buffer);
    } else {
      remote_sends.push_back(send);
    }
  }
  for (const Receive& receive : receives) {
    check.peer("peer of a receive", receive.peer);
    check.memory("a receive", receive.buffer);
    if (receive.buffer.count == 0) continue;
    if (receive.peer == rank_) {
      own_receives.push_back(receive.buffer);
    } else {
      remote_receives.push_back(receive);
    }
  }
  check_exchange_overlap(check, sends, receives);
  if (own_sends.size() != own_receives.size()) {
    check.fail("{} transfers to itself are sent, {} received", own_sends.size(), own_receives.size());
  }
  for (std::size_t i = 0; i < own_sends.size(); ++i) {
    if (own_sends[i].num_bytes() != own_receives[i].num_bytes()) {
      check.fail("transfer {} to itself sends {} bytes and receives {}", i, own_sends[i].num_bytes(),
                 own_receives[i].num_bytes());
    }
  }
  for (std::size_t i = 0; i < own_sends.size(); ++i) copy(own_sends[i], own_receives[i]);
  if (size_ == 1) return Pending();
  return start_exchange(remote_sends, remote_receives);
}

void Communicator::barrier() {
  if (size_ > 1) start_barrier().wait();
}

std::unique_ptr<Communicator> Communicator::split(int color, int key) {
  std::unique_ptr<Communicator> part = do_split(color, key);
  if (part) part->set_deadline(deadline_);
  return part;
}

}  // namespace ballast::comm
