#include "runtime/comm/local_communicator.h"

#include <gmock/gmock.h>

#include <latch>
#include <set>

#include "tests/runtime/comm/communicator_contract.h"
#include "tests/support/run_ranks.h"

namespace ballast::comm {

void run_world(int num_ranks, const std::function<void(Communicator&)>& body) { support::run_ranks(num_ranks, body); }

namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// Runs `body` on all ranks except `absent`, which stay in the world without doing anything until the others have ended.
// Returns what the first failing rank said.
std::string failure_of(int num_ranks, const std::set<int>& absent, std::chrono::duration<double> deadline,
                       const std::function<void(Communicator&)>& body) {
  std::latch present_have_ended(num_ranks - static_cast<int>(absent.size()));
  try {
    support::run_ranks(
        num_ranks,
        [&](Communicator& comm) {
          if (absent.contains(comm.rank())) return present_have_ended.wait();
          const std::shared_ptr<void> on_exit(nullptr, [&](void*) { present_have_ended.count_down(); });
          body(comm);
        },
        deadline);
  } catch (const support::RankError& error) {
    return error.what();
  }
  return "nobody failed";
}

constexpr std::chrono::milliseconds kShort{50};
constexpr std::chrono::hours kLong{1};

TEST(LocalDeadline, CollectiveNamesTheRanksThatHaveNotArrived) {
  const std::string text = failure_of(4, {1, 3}, kShort, [](Communicator& comm) {
    std::vector<double> values(1000);
    comm.all_reduce(buffer(values), ReduceOp::kSum).wait();
  });
  EXPECT_THAT(text,
              AllOf(HasSubstr("all_reduce sum of 8000 bytes (1000 float64) on rank"),
                    HasSubstr("of 4: no answer from ranks 1, 3 within 0.05 s"), HasSubstr("raise parallel.deadline_seconds")));
}

TEST(LocalDeadline, EveryCollectiveHasOne) {
  const std::vector<std::int64_t> counts{1, 1};
  const std::vector<std::pair<std::string, std::function<void(Communicator&, Buffer, Buffer)>>> calls{
      {"all_gather of 8 bytes (2 float32, counts 1 1)",
       [&](Communicator& c, Buffer one, Buffer two) { c.all_gather(one, two, counts).wait(); }},
      {"reduce_scatter min of 8 bytes (2 float32, counts 1 1)",
       [&](Communicator& c, Buffer one, Buffer two) { c.reduce_scatter(two, one, counts, ReduceOp::kMin).wait(); }},
      {"all_to_all of float32 (8 bytes sent, 8 received)",
       [&](Communicator& c, Buffer, Buffer two) {
         std::vector<float> received(2);
         c.all_to_all(two, counts, buffer(received), counts).wait();
       }},
      {"broadcast of 4 bytes (1 float32) from rank 0", [](Communicator& c, Buffer one, Buffer) { c.broadcast(one, 0).wait(); }},
      {"barrier", [](Communicator& c, Buffer, Buffer) { c.barrier(); }},
      {"split", [](Communicator& c, Buffer, Buffer) { c.split(0, 0); }}};
  for (const auto& [what, call] : calls) {
    const std::string text = failure_of(2, {0}, kShort, [&, &call = call](Communicator& comm) {
      std::vector<float> one(1);
      std::vector<float> two(2);
      call(comm, buffer(one), buffer(two));
    });
    EXPECT_THAT(text, HasSubstr(what + " on rank 1 of 2: no answer from rank 0 within 0.05 s"));
  }
}

TEST(LocalDeadline, ExchangeNamesThePeer) {
  const std::string text = failure_of(3, {1}, kShort, [](Communicator& comm) {
    std::vector<std::uint8_t> sent(7);
    std::vector<std::uint8_t> received(5);
    if (comm.rank() == 0) {
      comm.exchange(std::vector<Send>{{2, buffer(sent)}}, std::vector<Receive>{{1, buffer(received)}}).wait();
    } else {
      comm.exchange({}, std::vector<Receive>{{0, buffer(sent)}}).wait();
    }
  });
  EXPECT_THAT(text, HasSubstr("rank 0: exchange of 7 bytes sent and 5 received on rank 0 of 3: no answer from rank 1 within"));
}

TEST(LocalFailure, RankThatLeavesIsTheCauseThatIsReported) {
  const std::string text = failure_of(3, {}, kLong, [](Communicator& comm) {
    const auto part = comm.split(0, 0);
    if (comm.rank() == 2) throw std::runtime_error("out of cheese");
    part->barrier();
  });
  EXPECT_EQ(text, "rank 2: out of cheese");
}

TEST(LocalFailure, PeersOfARankThatLeavesDoNotWait) {
  const std::string text = failure_of(2, {}, kLong, [](Communicator& comm) {
    std::vector<float> values(1);
    if (comm.rank() == 0) comm.exchange({}, std::vector<Receive>{{1, buffer(values)}}).wait();
  });
  EXPECT_THAT(text, HasSubstr("exchange of 0 bytes sent and 4 received on rank 0 of 2 cannot finish: rank 1 has left"));
}

TEST(LocalFailure, UnwindingAbandonsAndPeersAreTold) {
  std::latch has_unwound(1);
  std::latch peer_has_failed(1);
  const std::string text = failure_of(2, {}, kLong, [&](Communicator& comm) {
    std::vector<float> values(1);
    if (comm.rank() == 0) {
      try {
        const Pending pending = comm.all_reduce(buffer(values), ReduceOp::kSum);
        throw std::runtime_error("unwinds");
      } catch (const std::runtime_error&) {
      }
      has_unwound.count_down();
      return peer_has_failed.wait();
    }
    has_unwound.wait();
    const std::shared_ptr<void> on_exit(nullptr, [&](void*) { peer_has_failed.count_down(); });
    comm.all_reduce(buffer(values), ReduceOp::kSum).wait();
  });
  EXPECT_THAT(text, HasSubstr("cannot finish: rank 0 of 2 abandoned its all_reduce sum of 4 bytes (1 float32)"));
}

TEST(LocalFailure, DifferentCallsAreNamed) {
  const std::string text = failure_of(2, {}, kLong, [](Communicator& comm) {
    std::vector<float> values(static_cast<std::size_t>(3 + comm.rank()));
    comm.all_reduce(buffer(values), ReduceOp::kSum).wait();
  });
  EXPECT_THAT(text, AllOf(HasSubstr("collective number 0 is"), HasSubstr("all_reduce sum of 12 bytes (3 float32) on rank 0"),
                          HasSubstr("all_reduce sum of 16 bytes (4 float32) on rank 1")));
}

TEST(LocalFailure, DifferentSizesOfATransferAreNamed) {
  const std::string text = failure_of(2, {}, kLong, [](Communicator& comm) {
    std::vector<std::uint8_t> values(static_cast<std::size_t>(3 + comm.rank()));
    if (comm.rank() == 0) comm.exchange(std::vector<Send>{{1, buffer(values)}}, {}).wait();
    if (comm.rank() == 1) comm.exchange({}, std::vector<Receive>{{0, buffer(values)}}).wait();
  });
  EXPECT_THAT(text, HasSubstr("exchange: rank 0 sends 3 bytes to rank 1, which receives 4"));
  const std::string pieces = failure_of(2, {}, kLong, [](Communicator& comm) {
    const std::vector<std::int64_t> sent{0, 0};
    std::vector<std::int64_t> expected{0, 0};
    expected[static_cast<std::size_t>(1 - comm.rank())] = comm.rank();
    std::vector<std::uint8_t> values(static_cast<std::size_t>(comm.rank()));
    comm.all_to_all({}, sent, buffer(values), expected).wait();
  });
  EXPECT_THAT(pieces, HasSubstr("all_to_all: rank 0 sends 0 elements to rank 1, which receives 1"));
}

TEST(LocalWorld, NeedsARank) {
  EXPECT_THAT([] { make_local_world(0); },
              ThrowsMessage<std::invalid_argument>("make_local_world: 0 ranks; at least 1 is wanted"));
}

}  // namespace
}  // namespace ballast::comm
