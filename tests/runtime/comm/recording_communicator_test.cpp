#include "runtime/comm/recording_communicator.h"

#include <gmock/gmock.h>

#include "runtime/comm/exchange.h"
#include "tests/runtime/comm/communicator_contract.h"
#include "tests/support/run_ranks.h"

namespace ballast::comm {

// What is recorded behaves like what it records.
void run_world(int num_ranks, const std::function<void(Communicator&)>& body) {
  support::run_ranks(num_ranks, [&](Communicator& inner) {
    RecordingCommunicator recording(inner);
    body(recording);
  });
}

namespace {

using ::testing::ElementsAre;

TEST(RecordingCommunicator, RecordsWhatLeavesTheRankInOrder) {
  support::run_ranks(3, [](Communicator& inner) {
    RecordingCommunicator comm(inner);
    std::vector<double> values(6);
    std::vector<double> two(2);
    const std::vector<std::int64_t> counts{2, 2, 2};
    comm.all_reduce(buffer(values), ReduceOp::kSum).wait();
    comm.all_gather(buffer(two), buffer(values), counts).wait();
    comm.reduce_scatter(buffer(values), buffer(two), counts, ReduceOp::kMax).wait();
    comm.broadcast(buffer(two), 2).wait();
    comm.barrier();
    std::vector<double> other(6);
    comm.all_to_all(buffer(values), counts, buffer(other), counts).wait();
    if (comm.rank() == 1) {
      EXPECT_THAT(comm.records(), ElementsAre(Record{0, 0, "all_reduce", -1, 48}, Record{1, 0, "all_gather", -1, 16},
                                              Record{2, 0, "reduce_scatter", -1, 48}, Record{3, 0, "broadcast", 2, 16},
                                              Record{4, 0, "barrier", -1, 0}, Record{5, 0, "all_to_all", -1, 48}));
    }
    comm.clear();
    EXPECT_TRUE(comm.records().empty());
  });
}

TEST(RecordingCommunicator, ExchangeIsRecordedByMessage) {
  const std::vector<scheduler::Transfer> transfers{{0, 2, 3}, {1, 1, 5}, {1, 0, 1}, {1, 2, 2}, {2, 1, 4}, {0, 1, 0}};
  support::run_ranks(3, [&](Communicator& inner) {
    RecordingCommunicator comm(inner);
    std::vector<float> sent(static_cast<std::size_t>(10 * num_sent_rows(transfers, comm.rank())));
    std::vector<float> received(static_cast<std::size_t>(10 * num_received_rows(transfers, comm.rank())));
    exchange(comm, transfers, {sent.data(), std::ssize(sent) / 10, 10, Dtype::kFloat32, Device::kHost},
             {received.data(), std::ssize(received) / 10, 10, Dtype::kFloat32, Device::kHost})
        .wait();
    comm.barrier();
    if (comm.rank() == 1) {
      EXPECT_THAT(comm.records(), ElementsAre(Record{0, 0, "send", 0, 40}, Record{0, 0, "send", 2, 80},
                                              Record{0, 0, "receive", 2, 160}, Record{1, 0, "barrier", -1, 0}));
    }
  });
}

TEST(RecordingCommunicator, PartsRecordIntoTheSameLogWithOuterRanks) {
  support::run_ranks(4, [](Communicator& inner) {
    RecordingCommunicator comm(inner);
    const auto none = comm.split(-1, 0);
    EXPECT_EQ(none, nullptr);
    const auto part = comm.split(comm.rank() % 2, 0);
    part->set_deadline(std::chrono::seconds(30));
    std::vector<std::uint8_t> values(7);
    part->broadcast(buffer(values), 1).wait();
    EXPECT_THAT(comm.records(), ElementsAre(Record{0, 0, "split", -1, 0}, Record{1, 0, "split", -1, 0},
                                            Record{2, 2, "broadcast", 2 + comm.rank() % 2, 7}));
  });
}

TEST(RecordingCommunicator, DeadlineIsForwarded) {
  support::run_ranks(2, [](Communicator& inner) {
    RecordingCommunicator comm(inner);
    EXPECT_EQ(comm.deadline(), inner.deadline());
    comm.set_deadline(std::chrono::seconds(33));
    comm.barrier();
    EXPECT_EQ(inner.deadline(), std::chrono::seconds(33));
  });
}

}  // namespace
}  // namespace ballast::comm
