#include "runtime/comm/exchange.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "runtime/comm/local_communicator.h"
#include "tests/support/run_ranks.h"

namespace ballast::comm {
namespace {

using scheduler::Transfer;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

Rows rows(std::vector<float>& values, std::int64_t row_elements) {
  return {values.data(), std::ssize(values) / row_elements, row_elements, Dtype::kFloat32, Device::kHost};
}

// The row that rank `src` sends to `dst` as its k-th.
std::vector<float> row(int src, int dst, std::int64_t k) {
  return {static_cast<float>(src), static_cast<float>(dst), static_cast<float>(k)};
}

// Sends what `row` says along `transfers` and returns what came, in rows of three elements.
std::vector<float> execute(Communicator& comm, const std::vector<Transfer>& transfers) {
  std::vector<float> sent;
  for (int dst = 0; dst < comm.size(); ++dst) {
    std::int64_t k = 0;
    for (const Transfer& t : transfers) {
      if (t.src != comm.rank() || t.dst != dst) continue;
      for (std::int64_t i = 0; i < t.num_rows; ++i) std::ranges::copy(row(t.src, dst, k++), std::back_inserter(sent));
    }
  }
  std::vector<float> received(static_cast<std::size_t>(3 * num_received_rows(transfers, comm.rank())));
  exchange(comm, transfers, rows(sent, 3), rows(received, 3)).wait();
  return received;
}

TEST(Exchange, RowsComeInOrderOfSource) {
  // Any order of the list, two transfers of one pair, one to itself, an empty one.
  const std::vector<Transfer> transfers{{2, 0, 2}, {1, 0, 1}, {0, 0, 1}, {2, 1, 1}, {2, 0, 1}, {1, 2, 0}};
  support::run_ranks(3, [&](Communicator& comm) {
    const std::vector<float> received = execute(comm, transfers);
    if (comm.rank() == 0) {
      EXPECT_EQ(received, (std::vector<float>{0, 0, 0, 1, 0, 0, 2, 0, 0, 2, 0, 1, 2, 0, 2}));
    } else if (comm.rank() == 1) {
      EXPECT_EQ(received, (std::vector<float>{2, 1, 0}));
    } else {
      EXPECT_TRUE(received.empty());
    }
  });
}

TEST(Exchange, AnyTransfersDeliverEveryRowOnce) {
  EXPECT_TRUE(rc::check([] {
    const int size = *rc::gen::inRange(1, 5);
    const auto transfers = *rc::gen::container<std::vector<Transfer>>(
        rc::gen::construct<Transfer>(rc::gen::inRange(0, size), rc::gen::inRange(0, size), rc::gen::inRange<std::int64_t>(0, 9)));
    support::run_ranks(size, [&](Communicator& comm) {
      std::vector<float> want;
      for (int src = 0; src < size; ++src) {
        std::int64_t num = 0;
        for (const Transfer& t : transfers) num += t.src == src && t.dst == comm.rank() ? t.num_rows : 0;
        for (std::int64_t k = 0; k < num; ++k) std::ranges::copy(row(src, comm.rank(), k), std::back_inserter(want));
      }
      RC_ASSERT(execute(comm, transfers) == want);
    });
  }));
}

TEST(Exchange, WayBackRestoresWhatWasSent) {
  const std::vector<Transfer> there{{0, 1, 2}, {0, 0, 1}, {1, 0, 3}};
  support::run_ranks(2, [&](Communicator& comm) {
    std::vector<float> sent(static_cast<std::size_t>(num_sent_rows(there, comm.rank())));
    for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<float>(10 * comm.rank()) + static_cast<float>(i);
    std::vector<float> received(static_cast<std::size_t>(num_received_rows(there, comm.rank())));
    exchange(comm, there, rows(sent, 1), rows(received, 1)).wait();
    std::vector<float> back(sent.size());
    exchange(comm, reversed(there), rows(received, 1), rows(back, 1)).wait();
    EXPECT_EQ(back, sent);
  });
}

TEST(Exchange, WrongArgumentsAreNamed) {
  const auto world = make_local_world(2);
  Communicator& comm = *world[0];
  std::vector<float> three(3);
  std::vector<float> none;
  const auto call = [&](std::vector<Transfer> transfers, ConstRows send, Rows receive) {
    return [&comm, transfers, send, receive] { exchange(comm, transfers, send, receive); };
  };
  EXPECT_THAT(call({{0, 2, 1}}, rows(three, 3), rows(none, 3)),
              ThrowsMessage<std::invalid_argument>(
                  "exchange of rows on rank 0 of 2: transfer 0 goes from rank 0 to rank 2; ranks are 0 to 1"));
  EXPECT_THAT(call({{0, 1, -1}}, rows(three, 3), rows(none, 3)),
              ThrowsMessage<std::invalid_argument>(HasSubstr("transfer 0 from rank 0 to rank 1 has -1 rows")));
  EXPECT_THAT(call({{0, 1, 2}}, rows(three, 3), rows(none, 3)),
              ThrowsMessage<std::invalid_argument>(HasSubstr("send has 1 rows, the transfers take 2")));
  EXPECT_THAT(call({{1, 0, 2}}, rows(none, 3), rows(three, 3)),
              ThrowsMessage<std::invalid_argument>(HasSubstr("receive has 1 rows, the transfers bring 2")));
  EXPECT_THAT(call({}, rows(none, 3), rows(none, 2)),
              ThrowsMessage<std::invalid_argument>(HasSubstr("a row is 3 float32 in send and 2 float32 in receive")));
  EXPECT_THAT(call({{1, 1, std::int64_t{1} << 61}}, rows(none, 3), rows(none, 3)),
              ThrowsMessage<std::invalid_argument>(HasSubstr("more bytes than 63 bits count")));
}

}  // namespace
}  // namespace ballast::comm
