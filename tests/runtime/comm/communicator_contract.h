#pragma once
// One suite for all communicators: backend x size x dtype x count. A backend's test defines run_world() and is done.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <vector>

#include "runtime/comm/communicator.h"

namespace ballast::comm {

/// Defined by the backend's test: runs `body` on `num_ranks` ranks of the backend.
void run_world(int num_ranks, const std::function<void(Communicator&)>& body);

namespace contract {

struct Case {
  int size;
  Dtype dtype;
  std::int64_t count;
};

/// Small integers are exact in every dtype, sums over four ranks included.
inline std::int64_t value(int rank, std::int64_t i) { return (7 * i + 13 * rank) % 31; }

/// Elements of any dtype; reads and writes them as integers.
class Values {
 public:
  Values(Dtype dtype, std::int64_t count, const std::function<std::int64_t(std::int64_t)>& element)
      : dtype_(dtype), count_(count), bytes_(static_cast<std::size_t>(count * size_in_bytes(dtype))) {
    for (std::int64_t i = 0; i < count; ++i) set(i, element(i));
  }
  Values(Dtype dtype, std::int64_t count) : Values(dtype, count, [](std::int64_t) { return 99; }) {}

  Buffer buffer() { return run(0, count_); }
  Buffer run(std::int64_t begin, std::int64_t count) {
    return {bytes_.data() + begin * size_in_bytes(dtype_), count, dtype_, Device::kHost};
  }
  std::vector<std::int64_t> get() const {
    std::vector<std::int64_t> elements;
    for (std::int64_t i = 0; i < count_; ++i) elements.push_back(get(i));
    return elements;
  }

 private:
  template <class T>
  T load(std::int64_t i) const {
    T element;
    std::memcpy(&element, bytes_.data() + i * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
    return element;
  }
  template <class T>
  void store(std::int64_t i, T element) {
    std::memcpy(bytes_.data() + i * static_cast<std::int64_t>(sizeof(T)), &element, sizeof(T));
  }
  std::int64_t get(std::int64_t i) const {
    switch (dtype_) {
      case Dtype::kUint8:
        return load<std::uint8_t>(i);
      case Dtype::kInt32:
        return load<std::int32_t>(i);
      case Dtype::kInt64:
        return load<std::int64_t>(i);
      case Dtype::kBfloat16:
        return static_cast<std::int64_t>(std::bit_cast<float>(static_cast<std::uint32_t>(load<std::uint16_t>(i)) << 16));
      case Dtype::kFloat32:
        return static_cast<std::int64_t>(load<float>(i));
      case Dtype::kFloat64:
        return static_cast<std::int64_t>(load<double>(i));
    }
    return -1;
  }
  void set(std::int64_t i, std::int64_t element) {
    switch (dtype_) {
      case Dtype::kUint8:
        return store(i, static_cast<std::uint8_t>(element));
      case Dtype::kInt32:
        return store(i, static_cast<std::int32_t>(element));
      case Dtype::kInt64:
        return store(i, element);
      case Dtype::kBfloat16:
        return store(i, static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(static_cast<float>(element)) >> 16));
      case Dtype::kFloat32:
        return store(i, static_cast<float>(element));
      case Dtype::kFloat64:
        return store(i, static_cast<double>(element));
    }
  }

  Dtype dtype_;
  std::int64_t count_;
  std::vector<std::byte> bytes_;
};

inline std::int64_t sum(const std::vector<std::int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

/// Start of run r.
inline std::int64_t begin_of(const std::vector<std::int64_t>& counts, int r) {
  return std::accumulate(counts.begin(), counts.begin() + r, std::int64_t{0});
}

/// Uneven runs around `count`; that of rank 1 is empty.
inline std::vector<std::int64_t> uneven_counts(int size, std::int64_t count) {
  std::vector<std::int64_t> counts;
  for (int r = 0; r < size; ++r) counts.push_back(r == 1 ? 0 : count + (count > 0 ? 3 * r : 0));
  return counts;
}

/// What rank `from` sends to rank `to` in all_to_all: uneven, zero for some pairs.
inline std::int64_t pair_count(int from, int to, std::int64_t count) { return (from + 2 * to) % 3 == 1 ? 0 : count + from; }

class CommunicatorContract : public ::testing::TestWithParam<Case> {
 protected:
  Dtype dtype() const { return GetParam().dtype; }
  std::int64_t count() const { return GetParam().count; }
  void run(const std::function<void(Communicator&)>& body) { run_world(GetParam().size, body); }
  Values values(std::int64_t num, const std::function<std::int64_t(std::int64_t)>& element) const {
    return Values(dtype(), num, element);
  }
  std::vector<std::int64_t> expected(std::int64_t num, const std::function<std::int64_t(std::int64_t)>& element) const {
    std::vector<std::int64_t> elements;
    for (std::int64_t i = 0; i < num; ++i) elements.push_back(element(i));
    return elements;
  }
};

inline std::int64_t reduced(int size, std::int64_t i, ReduceOp op) {
  std::int64_t result = value(0, i);
  for (int r = 1; r < size; ++r) {
    const std::int64_t next = value(r, i);
    result = op == ReduceOp::kSum ? result + next : op == ReduceOp::kMax ? std::max(result, next) : std::min(result, next);
  }
  return result;
}

TEST_P(CommunicatorContract, AllReduce) {
  run([this](Communicator& comm) {
    for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax, ReduceOp::kMin}) {
      Values mine = values(count(), [&](std::int64_t i) { return value(comm.rank(), i); });
      comm.all_reduce(mine.buffer(), op).wait();
      EXPECT_EQ(mine.get(), expected(count(), [&](std::int64_t i) { return reduced(comm.size(), i, op); })) << name(op);
    }
  });
}

TEST_P(CommunicatorContract, AllGather) {
  run([this](Communicator& comm) {
    const std::vector<std::int64_t> counts = uneven_counts(comm.size(), count());
    const std::int64_t own = counts[static_cast<std::size_t>(comm.rank())];
    std::vector<std::int64_t> want;
    for (int r = 0; r < comm.size(); ++r) {
      for (std::int64_t i = 0; i < counts[static_cast<std::size_t>(r)]; ++i) want.push_back(value(r, i));
    }
    Values send = values(own, [&](std::int64_t i) { return value(comm.rank(), i); });
    Values receive(dtype(), sum(counts));
    comm.all_gather(send.buffer(), receive.buffer(), counts).wait();
    EXPECT_EQ(receive.get(), want);

    const std::int64_t begin = begin_of(counts, comm.rank());
    Values both =
        values(sum(counts), [&](std::int64_t i) { return begin <= i && i < begin + own ? value(comm.rank(), i - begin) : 99; });
    comm.all_gather(both.run(begin, own), both.buffer(), counts).wait();
    EXPECT_EQ(both.get(), want) << "in place";
  });
}

TEST_P(CommunicatorContract, ReduceScatter) {
  run([this](Communicator& comm) {
    const std::vector<std::int64_t> counts = uneven_counts(comm.size(), count());
    const std::int64_t own = counts[static_cast<std::size_t>(comm.rank())];
    const std::int64_t begin = begin_of(counts, comm.rank());
    for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax, ReduceOp::kMin}) {
      const auto want = expected(own, [&](std::int64_t i) { return reduced(comm.size(), begin + i, op); });
      Values send = values(sum(counts), [&](std::int64_t i) { return value(comm.rank(), i); });
      const auto before = send.get();
      Values receive(dtype(), own);
      comm.reduce_scatter(send.buffer(), receive.buffer(), counts, op).wait();
      EXPECT_EQ(receive.get(), want) << name(op);
      EXPECT_EQ(send.get(), before) << "what is sent stays as it is";

      comm.reduce_scatter(send.buffer(), send.run(begin, own), counts, op).wait();
      auto in_place = before;
      std::copy(want.begin(), want.end(), in_place.begin() + begin);
      EXPECT_EQ(send.get(), in_place) << "in place";
    }
  });
}

TEST_P(CommunicatorContract, AllToAll) {
  run([this](Communicator& comm) {
    std::vector<std::int64_t> send_counts;
    std::vector<std::int64_t> receive_counts;
    std::vector<std::int64_t> sent;
    std::vector<std::int64_t> want;
    for (int r = 0; r < comm.size(); ++r) {
      send_counts.push_back(pair_count(comm.rank(), r, count()));
      receive_counts.push_back(pair_count(r, comm.rank(), count()));
      for (std::int64_t i = 0; i < send_counts.back(); ++i) sent.push_back(value(comm.rank() + 2 * r, i));
      for (std::int64_t i = 0; i < receive_counts.back(); ++i) want.push_back(value(r + 2 * comm.rank(), i));
    }
    Values send = values(std::ssize(sent), [&](std::int64_t i) { return sent[static_cast<std::size_t>(i)]; });
    Values receive(dtype(), std::ssize(want));
    comm.all_to_all(send.buffer(), send_counts, receive.buffer(), receive_counts).wait();
    EXPECT_EQ(receive.get(), want);
  });
}

TEST_P(CommunicatorContract, Broadcast) {
  run([this](Communicator& comm) {
    for (int root = 0; root < comm.size(); ++root) {
      Values mine = values(count(), [&](std::int64_t i) { return value(comm.rank(), i); });
      comm.broadcast(mine.buffer(), root).wait();
      EXPECT_EQ(mine.get(), expected(count(), [&](std::int64_t i) { return value(root, i); })) << "root " << root;
    }
  });
}

// Every rank sends two transfers to every rank, itself included; the second is empty for some.
TEST_P(CommunicatorContract, Exchange) {
  run([this](Communicator& comm) {
    std::vector<Values> sent;
    std::vector<Values> received;
    sent.reserve(2 * static_cast<std::size_t>(comm.size()));
    received.reserve(sent.capacity());
    std::vector<Send> sends;
    std::vector<Receive> receives;
    for (int peer = 0; peer < comm.size(); ++peer) {
      for (int part = 0; part < 2; ++part) {
        const auto num = [&](int from, int to) { return part == 0 ? count() : pair_count(from, to, count()); };
        sent.push_back(values(num(comm.rank(), peer), [&](std::int64_t i) { return value(comm.rank() + part, i + peer); }));
        sends.push_back({peer, sent.back().buffer()});
        received.emplace_back(dtype(), num(peer, comm.rank()));
        receives.push_back({peer, received.back().buffer()});
      }
    }
    comm.exchange(sends, receives).wait();
    for (int peer = 0; peer < comm.size(); ++peer) {
      for (int part = 0; part < 2; ++part) {
        const auto got = received[static_cast<std::size_t>(2 * peer + part)].get();
        EXPECT_EQ(got, expected(std::ssize(got), [&](std::int64_t i) { return value(peer + part, i + comm.rank()); }))
            << "from rank " << peer << ", part " << part;
      }
    }
  });
}

// Operations of every kind in flight at once, finished in another order on each rank.
TEST_P(CommunicatorContract, SeveralInFlight) {
  run([this](Communicator& comm) {
    const int next = (comm.rank() + 1) % comm.size();
    const int previous = (comm.rank() + comm.size() - 1) % comm.size();
    const std::vector<std::int64_t> counts(static_cast<std::size_t>(comm.size()), count());
    const auto mine = [&](std::int64_t i) { return value(comm.rank(), i); };
    Values first_sum = values(count(), mine);
    Values second_sum = values(count(), [&](std::int64_t i) { return value(comm.rank() + 1, i); });
    Values first_sent = values(count(), mine);
    Values second_sent = values(count(), [&](std::int64_t i) { return value(comm.rank(), i + 1); });
    Values first_received(dtype(), count());
    Values second_received(dtype(), count());
    Values gathered(dtype(), count() * comm.size());
    Values rooted = values(count(), mine);

    std::vector<Pending> pending;
    pending.push_back(comm.all_reduce(first_sum.buffer(), ReduceOp::kSum));
    pending.push_back(
        comm.exchange(std::vector<Send>{{next, first_sent.buffer()}}, std::vector<Receive>{{previous, first_received.buffer()}}));
    pending.push_back(comm.all_gather(first_sent.buffer(), gathered.buffer(), counts));
    pending.push_back(comm.all_reduce(second_sum.buffer(), ReduceOp::kMax));
    pending.push_back(comm.exchange(std::vector<Send>{{next, second_sent.buffer()}},
                                    std::vector<Receive>{{previous, second_received.buffer()}}));
    pending.push_back(comm.broadcast(rooted.buffer(), comm.size() - 1));
    for (std::size_t i = 0; i < pending.size(); ++i) {
      pending[(i * 5 + static_cast<std::size_t>(comm.rank())) % pending.size()].wait();
    }
    for (Pending& one : pending) EXPECT_TRUE(one.poll());

    EXPECT_EQ(first_sum.get(), expected(count(), [&](std::int64_t i) { return reduced(comm.size(), i, ReduceOp::kSum); }));
    EXPECT_EQ(second_sum.get(), expected(count(), [&](std::int64_t i) {
                std::int64_t largest = 0;
                for (int r = 1; r <= comm.size(); ++r) largest = std::max(largest, value(r, i));
                return largest;
              }));
    EXPECT_EQ(first_received.get(), expected(count(), [&](std::int64_t i) { return value(previous, i); }));
    EXPECT_EQ(second_received.get(), expected(count(), [&](std::int64_t i) { return value(previous, i + 1); }));
    EXPECT_EQ(gathered.get(),
              expected(count() * comm.size(), [&](std::int64_t i) { return value(static_cast<int>(i / count()), i % count()); }));
    EXPECT_EQ(rooted.get(), expected(count(), [&](std::int64_t i) { return value(comm.size() - 1, i); }));
  });
}

/// Every size x dtype x count: none, one, odd, more than 64 KiB.
inline std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const int size : {1, 2, 3, 4}) {
    for (const Dtype dtype : {Dtype::kUint8, Dtype::kInt32, Dtype::kInt64, Dtype::kBfloat16, Dtype::kFloat32, Dtype::kFloat64}) {
      for (const std::int64_t count : {std::int64_t{0}, std::int64_t{1}, std::int64_t{1237}, 65536 / size_in_bytes(dtype) + 1})
        cases.push_back({size, dtype, count});
    }
  }
  return cases;
}

inline std::string case_name(const ::testing::TestParamInfo<Case>& tested) {
  return "size" + std::to_string(tested.param.size) + "_" + name(tested.param.dtype) + "_count" +
         std::to_string(tested.param.count);
}

INSTANTIATE_TEST_SUITE_P(Backend, CommunicatorContract, ::testing::ValuesIn(all_cases()), case_name);

class CommunicatorSizes : public ::testing::TestWithParam<int> {};

// Sums in rank order, to the bit: float32 and float64 values whose sum depends on the order.
TEST_P(CommunicatorSizes, ReductionIsInRankOrder) {
  run_world(GetParam(), [](Communicator& comm) {
    for (const std::int64_t count : {3, 5000, 40000}) {
      const auto element = [](int rank, std::int64_t i) {
        return std::ldexp(1.0 + static_cast<double>((rank * 7919 + i * 104729) % 1013) / 1013.0,
                          static_cast<int>(i * 5 + rank * 11) % 40);
      };
      std::vector<float> single(static_cast<std::size_t>(count));
      std::vector<double> twice(single.size());
      std::vector<float> want_single(single.size());
      std::vector<double> want_double(single.size());
      for (std::int64_t i = 0; i < count; ++i) {
        const auto at = static_cast<std::size_t>(i);
        twice[at] = element(comm.rank(), i);
        single[at] = static_cast<float>(twice[at]);
        want_double[at] = element(0, i);
        want_single[at] = static_cast<float>(want_double[at]);
        for (int r = 1; r < comm.size(); ++r) {
          want_double[at] += element(r, i);
          want_single[at] += static_cast<float>(element(r, i));
        }
      }
      comm.all_reduce(buffer(single), ReduceOp::kSum).wait();
      comm.all_reduce(buffer(twice), ReduceOp::kSum).wait();
      EXPECT_EQ(single, want_single);
      EXPECT_EQ(twice, want_double);
    }
  });
}

TEST_P(CommunicatorSizes, Split) {
  run_world(GetParam(), [](Communicator& comm) {
    comm.set_deadline(std::chrono::seconds(50));
    // Even and odd ranks, in reverse order.
    const auto half = comm.split(comm.rank() % 2, -comm.rank());
    ASSERT_NE(half, nullptr);
    EXPECT_EQ(half->deadline(), std::chrono::seconds(50));
    const int num_even = (comm.size() + 1) / 2;
    const int size = comm.rank() % 2 == 0 ? num_even : comm.size() - num_even;
    EXPECT_EQ(half->size(), size);
    EXPECT_EQ(half->rank(), size - 1 - comm.rank() / 2);
    std::vector<std::int64_t> ranks(static_cast<std::size_t>(size));
    const std::vector<std::int64_t> own{comm.rank()};
    half->all_gather(buffer(own), buffer(ranks), std::vector<std::int64_t>(ranks.size(), 1)).wait();
    for (int r = 0; r < size; ++r) EXPECT_EQ(ranks[static_cast<std::size_t>(r)], 2 * (size - 1 - r) + comm.rank() % 2);

    // Parent and part at once, and a part of a part.
    std::vector<std::int32_t> in_world{1};
    std::vector<std::int32_t> in_half{1};
    Pending world_sum = comm.all_reduce(buffer(in_world), ReduceOp::kSum);
    Pending half_sum = half->all_reduce(buffer(in_half), ReduceOp::kSum);
    half_sum.wait();
    world_sum.wait();
    EXPECT_EQ(in_world[0], comm.size());
    EXPECT_EQ(in_half[0], size);
    const auto alone = half->split(half->rank(), 0);
    ASSERT_NE(alone, nullptr);
    EXPECT_EQ(alone->size(), 1);

    // A negative color takes part in the call and in nothing else.
    const auto all_but_first = comm.split(comm.rank() == 0 ? -1 : 0, 0);
    EXPECT_EQ(all_but_first == nullptr, comm.rank() == 0);
    if (all_but_first) {
      EXPECT_EQ(all_but_first->rank(), comm.rank() - 1);
    }
  });
}

// Nobody leaves the barrier before the last one has come.
TEST_P(CommunicatorSizes, Barrier) {
  run_world(GetParam(), [](Communicator& comm) {
    for (int round = 0; round < 3; ++round) comm.barrier();
  });
}

// An operation that is dropped is finished first; its buffers are complete afterwards.
TEST_P(CommunicatorSizes, DroppedPendingIsFinished) {
  run_world(GetParam(), [](Communicator& comm) {
    std::vector<std::int64_t> values(20000, 1);
    { const Pending dropped = comm.all_reduce(buffer(values), ReduceOp::kSum); }
    EXPECT_EQ(values, std::vector<std::int64_t>(values.size(), comm.size()));
    // Both are in flight for a moment, so each has its own buffer.
    std::vector<std::int64_t> first(20000, 1), second(20000, 2);
    Pending replaced = comm.all_reduce(buffer(first), ReduceOp::kSum);
    replaced = comm.all_reduce(buffer(second), ReduceOp::kSum);
    EXPECT_EQ(first, std::vector<std::int64_t>(first.size(), comm.size()));
    replaced.wait();
    EXPECT_EQ(second, std::vector<std::int64_t>(second.size(), 2 * comm.size()));
  });
}

INSTANTIATE_TEST_SUITE_P(Backend, CommunicatorSizes, ::testing::Values(1, 2, 3, 4));

}  // namespace contract
}  // namespace ballast::comm
