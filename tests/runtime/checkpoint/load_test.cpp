#include "runtime/checkpoint/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "tests/runtime/checkpoint/training_state.h"
#include "tests/support/run_ranks.h"

namespace ballast::checkpoint {
namespace {

using support::run_ranks;

TEST(Load, AnyRanksLoadWhatAnyRanksSaved) {
  const auto model = small_model();
  for (int savers = 1; savers <= 4; ++savers) {
    for (int loaders = 1; loaders <= 4; ++loaders) {
      const bool holds = rc::check("reshard", [&] {
        const ScratchFolder scratch;
        const auto save_layout = random_layout(model, savers, *rc::gen::arbitrary<std::uint64_t>());
        const auto load_layout = random_layout(model, loaders, *rc::gen::arbitrary<std::uint64_t>());
        run_ranks(savers, [&](comm::Communicator& world) {
          const RankPieces own = share_of(world.rank(), model, save_layout);
          save(world, {.folder = scratch.path()}, point_at(7), own.pieces);
        });
        run_ranks(loaders, [&](comm::Communicator& world) {
          const Found found = find_newest(world, scratch.path());
          ASSERT_TRUE(found.checkpoint.has_value());
          expect_reads(world, *found.checkpoint, model, load_layout);
        });
      });
      ASSERT_TRUE(holds) << savers << " ranks saved, " << loaders << " load";
    }
  }
}

}  // namespace
}  // namespace ballast::checkpoint
