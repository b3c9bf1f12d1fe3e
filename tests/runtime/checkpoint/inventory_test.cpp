#include "runtime/checkpoint/inventory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>

namespace ballast::checkpoint {
namespace {

using ::testing::HasSubstr;
using Offers = std::vector<std::vector<OfferedPiece>>;

OfferedPiece piece(std::int64_t begin, std::int64_t end, bool is_replicated = false, std::uint64_t hash = 0) {
  return {.name = "w", .shape = {2, 5}, .begin = begin, .end = end, .is_replicated = is_replicated, .hash = {0, hash}};
}

std::string refusal(const Offers& offers) {
  try {
    take_inventory(offers);
  } catch (const InventoryError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Inventory, EachElementIsWrittenByItsOnlyOwnerOrTheLowestReplica) {
  const Offers offers = {{piece(7, 10), piece(0, 3, true, 9)}, {piece(3, 7)}, {piece(0, 3, true, 9), piece(7, 7)}};
  const Inventory inventory = take_inventory(offers);
  ASSERT_EQ(inventory.tensors.size(), 1u);
  const StoredTensor& tensor = inventory.tensors[0];
  ASSERT_EQ(tensor.pieces.size(), 3u);
  EXPECT_EQ(tensor.pieces[0].end, 3);
  EXPECT_EQ(tensor.pieces[1].begin, 3);
  EXPECT_EQ(tensor.pieces[2].end, 10);
  ASSERT_EQ(inventory.writes.size(), 3u);
  ASSERT_EQ(inventory.writes[0].size(), 2u);
  EXPECT_EQ(inventory.writes[0][0].offer_idx, 1);
  EXPECT_EQ(inventory.writes[0][0].piece_idx, 0);
  EXPECT_EQ(inventory.writes[0][1].offer_idx, 0);
  EXPECT_EQ(inventory.writes[0][1].piece_idx, 2);
  EXPECT_EQ(inventory.writes[1].size(), 1u);
  EXPECT_TRUE(inventory.writes[2].empty());
}

TEST(Inventory, NamesWhatIsMissingOrTwice) {
  EXPECT_EQ(refusal({{piece(0, 4)}, {piece(6, 10)}}), "tensor 'w': elements [4, 6) of 10 are given by no rank");
  EXPECT_EQ(refusal({{piece(0, 4)}, {piece(4, 9)}}), "tensor 'w': elements [9, 10) of 10 are given by no rank");
  EXPECT_EQ(refusal({{piece(2, 10)}, {}}), "tensor 'w': elements [0, 2) of 10 are given by no rank");
  EXPECT_EQ(refusal({{piece(0, 0)}, {}}), "tensor 'w': elements [0, 10) of 10 are given by no rank");
  EXPECT_EQ(refusal({{piece(0, 6)}, {piece(4, 10)}}),
            "tensor 'w': elements [4, 6) are given by rank 0 and rank 1; give each once, or declare equal pieces replicated");
  EXPECT_THAT(refusal({{piece(0, 10)}, {piece(0, 10)}}), HasSubstr("elements [0, 10) are given by rank 0 and rank 1"));
  EXPECT_THAT(refusal({{piece(0, 10, true)}, {piece(0, 10)}}), HasSubstr("given by rank 0 and rank 1"));
  EXPECT_THAT(refusal({{piece(0, 10, true)}, {piece(2, 10, true)}}),
              HasSubstr("elements [2, 10) are given by rank 0 and rank 1"));
  EXPECT_THAT(refusal({{piece(0, 10, true), piece(0, 10, true)}}), HasSubstr("given by rank 0 and rank 0"));
}

TEST(Inventory, NamesReplicasThatDiffer) {
  EXPECT_EQ(refusal({{piece(0, 10, true, 1)}, {piece(0, 10, true, 1)}, {piece(0, 10, true, 2)}}),
            "tensor 'w': the replicas of elements [0, 10) differ: rank 0 has the hash 00000000000000000000000000000001, "
            "rank 2 has 00000000000000000000000000000002");
}

TEST(Inventory, NamesRanksThatDisagree) {
  OfferedPiece other = piece(5, 10);
  other.shape = {5, 2};
  EXPECT_EQ(refusal({{piece(0, 5)}, {other}}), "tensor 'w': rank 0 has weight F32 [2, 5], rank 1 has weight F32 [5, 2]");
  other = piece(5, 10);
  other.type = ElementType::kBF16;
  EXPECT_THAT(refusal({{piece(0, 5)}, {other}}), HasSubstr("rank 1 has weight BF16 [2, 5]"));
  other = piece(5, 10);
  other.kind = TensorKind::kOptimizer;
  EXPECT_THAT(refusal({{piece(0, 5)}, {other}}), HasSubstr("rank 1 has optimizer F32 [2, 5]"));
  EXPECT_EQ(refusal({{piece(0, 5)}, {piece(5, 11)}}), "tensor 'w': rank 1 gives elements [5, 11) of 10");
  EXPECT_EQ(refusal({{piece(-1, 5)}}), "tensor 'w': rank 0 gives elements [-1, 5) of 10");
  other = piece(0, 0);
  other.shape = {-1};
  EXPECT_EQ(refusal({{other}}), "tensor 'w': a dim is -1");
}

// Cut anywhere, given to any ranks, then perhaps moved by an element: accepted exactly when each element is there once.
TEST(Inventory, AgreesWithCountingEachElement) {
  int num_accepted = 0;
  EXPECT_TRUE(rc::check("tiling", [&] {
    std::vector<std::int64_t> borders = {0, 10};
    for (const auto cut : *rc::gen::container<std::vector<std::int64_t>>(3, rc::gen::inRange<std::int64_t>(0, 11)))
      borders.push_back(cut);
    std::ranges::sort(borders);
    Offers offers(*rc::gen::inRange<std::size_t>(1, 4));
    std::vector<int> count(10, 0);
    for (std::size_t i = 0; i + 1 < borders.size(); ++i) {
      const auto slip = [] { return *rc::gen::weightedElement<std::int64_t>({{20, 0}, {1, 1}, {1, -1}}); };
      const auto begin = std::clamp<std::int64_t>(borders[i] + slip(), 0, 10);
      const auto end = std::clamp<std::int64_t>(borders[i + 1] + slip(), begin, 10);
      offers[*rc::gen::inRange<std::size_t>(0, offers.size())].push_back(piece(begin, end));
      for (std::int64_t k = begin; k < end; ++k) ++count[static_cast<std::size_t>(k)];
    }
    const bool tiles = std::ranges::all_of(count, [](int n) { return n == 1; });
    num_accepted += tiles;
    RC_ASSERT((refusal(offers) == "accepted") == tiles);
  }));
  EXPECT_GT(num_accepted, 10);
  EXPECT_LT(num_accepted, 90);
}

}  // namespace
}  // namespace ballast::checkpoint
