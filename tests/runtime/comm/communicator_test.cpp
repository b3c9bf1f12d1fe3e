// The checks of the public calls, which are the same for every backend.
#include "runtime/comm/communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "runtime/comm/local_communicator.h"

namespace ballast::comm {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// Rank 1 of 3, alone on the line: every call must fail in its checks, or it would wait.
class CommunicatorChecks : public ::testing::Test {
 protected:
  template <class Call>
  void refuses(Call&& call, const std::string& text) {
    EXPECT_THAT([&] { call(); }, ThrowsMessage<std::invalid_argument>(HasSubstr(text)));
  }

  std::vector<std::unique_ptr<Communicator>> world_ = make_local_world(3);
  Communicator& comm_ = *world_[1];
  std::vector<float> values_ = std::vector<float>(12);
  std::vector<std::int64_t> twos_{2, 2, 2};

  Buffer run(std::int64_t begin, std::int64_t count) { return {values_.data() + begin, count, Dtype::kFloat32, Device::kHost}; }
};

TEST_F(CommunicatorChecks, Buffers) {
  refuses([&] { comm_.all_reduce(run(0, -1), ReduceOp::kSum); },
          "all_reduce on rank 1 of 3: values has -1 elements; a count is at least 0");
  refuses(
      [&] {
        comm_.all_reduce({nullptr, 2, Dtype::kFloat32, Device::kHost}, ReduceOp::kSum);
      },
      "values has 2 elements at a null pointer");
  refuses(
      [&] {
        comm_.broadcast({values_.data(), std::numeric_limits<std::int64_t>::max(), Dtype::kFloat64, Device::kHost}, 0);
      },
      "more bytes than 63 bits count");
  refuses(
      [&] {
        comm_.broadcast({values_.data(), 1, Dtype::kFloat32, Device::kCuda}, 0);
      },
      "values lies in device memory; this backend takes host memory: copy it first");
}

TEST_F(CommunicatorChecks, Counts) {
  refuses(
      [&] {
        comm_.all_gather(run(0, 2), run(2, 6), std::vector<std::int64_t>{2, 4});
      },
      "all_gather on rank 1 of 3: counts has 2 entries; one per rank is wanted, 3");
  refuses(
      [&] {
        comm_.all_gather(run(0, 2), run(2, 6), std::vector<std::int64_t>{4, 2, -1});
      },
      "counts[2] is -1; a count is at least 0");
  refuses([&] { comm_.all_gather(run(0, 2), run(2, 7), twos_); }, "counts = 2 2 2 add up to 6 elements, receive has 7");
  refuses([&] { comm_.all_gather(run(0, 2), run(2, 5), twos_); }, "counts = 2 2 2 add up to more than the 5 elements of receive");
  const std::int64_t huge = std::numeric_limits<std::int64_t>::max();
  refuses(
      [&] {
        comm_.all_gather(run(0, 2), run(2, 6), std::vector<std::int64_t>{huge, huge, huge});
      },
      "more than the 6 elements");
  refuses([&] { comm_.all_gather(run(0, 3), run(3, 6), twos_); }, "send has 3 elements, counts[1] is 2");
  refuses([&] { comm_.reduce_scatter(run(0, 6), run(6, 3), twos_, ReduceOp::kSum); }, "receive has 3 elements, counts[1] is 2");
  refuses(
      [&] {
        comm_.all_to_all(run(0, 6), twos_, run(6, 6), std::vector<std::int64_t>{2, 1, 3});
      },
      "send_counts[1] is 2, receive_counts[1] is 1; what a rank sends to itself it also receives");
}

TEST_F(CommunicatorChecks, DtypesAgree) {
  std::vector<double> doubles(6);
  refuses([&] { comm_.all_gather(run(0, 2), buffer(doubles), twos_); },
          "send is float32, receive is float64; both must be equal");
}

TEST_F(CommunicatorChecks, Overlap) {
  refuses([&] { comm_.all_gather(run(0, 2), run(1, 6), twos_); },
          "send (8 bytes) and receive (24 bytes) overlap; in place, send "
          "is exactly this rank's run of receive");
  refuses([&] { comm_.all_gather(run(0, 2), run(0, 6), twos_); }, "overlap");
  refuses([&] { comm_.reduce_scatter(run(0, 6), run(4, 2), twos_, ReduceOp::kSum); },
          "in place, receive is exactly this rank's run of send");
  refuses([&] { comm_.all_to_all(run(0, 6), twos_, run(5, 6), twos_); }, "overlap; use two buffers");
}

TEST_F(CommunicatorChecks, Ranks) {
  refuses([&] { comm_.broadcast(run(0, 1), 3); }, "broadcast on rank 1 of 3: root is 3; ranks are 0 to 2");
  refuses([&] { comm_.exchange(std::vector<Send>{{-1, run(0, 1)}}, {}); }, "peer of a send is -1; ranks are 0 to 2");
  refuses([&] { comm_.exchange({}, std::vector<Receive>{{7, run(0, 1)}}); }, "peer of a receive is 7; ranks are 0 to 2");
}

TEST_F(CommunicatorChecks, ExchangeOverlap) {
  refuses(
      [&] {
        comm_.exchange(std::vector<Send>{{0, run(0, 3)}}, std::vector<Receive>{{2, run(2, 2)}});
      },
      "send to rank 0 and receive from rank 2 overlap in memory; what is received may overlap nothing");
  refuses(
      [&] {
        comm_.exchange({}, std::vector<Receive>{{0, run(0, 3)}, {2, run(2, 2)}});
      },
      "receive from rank 0 and receive from rank 2 overlap in memory");
  // A short interval between two long ones, and a receive far inside an earlier send.
  refuses(
      [&] {
        comm_.exchange(std::vector<Send>{{0, run(0, 9)}, {2, run(1, 1)}}, std::vector<Receive>{{2, run(7, 1)}});
      },
      "send to rank 0 and receive from rank 2 overlap in memory");
}

TEST_F(CommunicatorChecks, TransfersToItself) {
  refuses(
      [&] {
        comm_.exchange(std::vector<Send>{{1, run(0, 3)}}, {});
      },
      "exchange on rank 1 of 3: 1 transfers to itself are sent, 0 received");
  refuses(
      [&] {
        comm_.exchange(std::vector<Send>{{1, run(0, 3)}}, std::vector<Receive>{{1, run(4, 2)}});
      },
      "transfer 0 to itself sends 12 bytes and receives 8");
}

TEST_F(CommunicatorChecks, Deadline) {
  refuses([&] { comm_.set_deadline(std::chrono::seconds(0)); }, "set_deadline on rank 1 of 3: 0 seconds");
  refuses([&] { comm_.set_deadline(std::chrono::duration<double>(1e12)); }, "more than 0 and less than");
  refuses([&] { comm_.set_deadline(std::chrono::duration<double>(std::nan(""))); }, "more than 0 and less than");
  EXPECT_EQ(comm_.deadline(), std::chrono::minutes(5));
}

// The same data may go to several peers at once.
TEST(Communicator, SentBuffersMayOverlap) {
  const auto world = make_local_world(1);
  std::vector<std::int32_t> sent{1, 2, 3};
  std::vector<std::int32_t> received(4);
  const auto at = [](std::vector<std::int32_t>& values, std::int64_t begin) {
    return Buffer{values.data() + begin, 2, Dtype::kInt32, Device::kHost};
  };
  world[0]
      ->exchange(std::vector<Send>{{0, at(sent, 0)}, {0, at(sent, 1)}},
                 std::vector<Receive>{{0, at(received, 2)}, {0, at(received, 0)}})
      .wait();
  EXPECT_EQ(received, (std::vector<std::int32_t>{2, 3, 1, 2}));
}

TEST(Communicator, BuffersOfRangesKnowTheirType) {
  const std::vector<double> constant(3);
  static_assert(std::is_same_v<decltype(buffer(constant)), ConstBuffer>);
  std::vector<std::int64_t> writable(2);
  static_assert(std::is_same_v<decltype(buffer(writable)), Buffer>);
  EXPECT_EQ(buffer(constant).num_bytes(), 24);
  EXPECT_EQ(buffer(std::span(writable).subspan(1)).count, 1);
  EXPECT_STREQ(name(buffer(writable).dtype), "int64");
}

}  // namespace
}  // namespace ballast::comm
