// The same over MPI: 1 to 4 processes train exactly as one thread does.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "tests/agreement/training_trace.h"
#include "tests/support/mpi_test_main.h"

namespace ballast {
namespace {

void expect_training_equals_one_rank(int ranks, int ep, const agreement::TraceOptions& options) {
  at::set_num_threads(1);
  comm::Communicator& world = support::mpi_world();
  const std::unique_ptr<comm::Communicator> some = world.split(world.rank() < ranks ? 0 : -1, world.rank());
  if (!some) return;
  const agreement::Trace many = agreement::train(*some, ep, options);
  if (some->rank() != 0) return;
  agreement::expect_equal(agreement::train_on_local_ranks(1, 1, options), many, options.dtype == at::kDouble ? 1e-10 : 1e-5);
}

TEST(RanksAgreeOverMpi, OneRank) { expect_training_equals_one_rank(1, 1, {}); }
TEST(RanksAgreeOverMpi, TwoRanksShareExperts) { expect_training_equals_one_rank(2, 2, {}); }
TEST(RanksAgreeOverMpi, ThreeRanksShareSixExperts) { expect_training_equals_one_rank(3, 3, {.num_experts = 6}); }
TEST(RanksAgreeOverMpi, FourRanksWithWholeExperts) { expect_training_equals_one_rank(4, 1, {}); }
TEST(RanksAgreeOverMpi, FourRanksShareExpertsInPairs) { expect_training_equals_one_rank(4, 2, {}); }
TEST(RanksAgreeOverMpi, FourRanksShareExpertsTopk) { expect_training_equals_one_rank(4, 4, {.router = "topk"}); }
TEST(RanksAgreeOverMpi, FourRanksShareExpertsInFloat) { expect_training_equals_one_rank(4, 4, {.dtype = at::kFloat}); }

}  // namespace
}  // namespace ballast
