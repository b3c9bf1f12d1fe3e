#include "runtime/checkpoint/rank_messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "runtime/comm/broadcast_text.h"

namespace ballast::checkpoint {
namespace {

comm::ConstBuffer bytes_of(const std::string& text) { return {text.data(), static_cast<std::int64_t>(text.size())}; }
comm::Buffer room_of(std::string& text) { return {text.data(), static_cast<std::int64_t>(text.size())}; }

std::vector<std::int64_t> gather_sizes(comm::Communicator& world, const std::string& message) {
  const auto size = static_cast<std::int64_t>(message.size());
  const std::vector<std::int64_t> counts(static_cast<std::size_t>(world.size()), 1);
  std::vector<std::int64_t> sizes(counts.size());
  world
      .all_gather({&size, 1, comm::Dtype::kInt64}, {sizes.data(), static_cast<std::int64_t>(sizes.size()), comm::Dtype::kInt64},
                  counts)
      .wait();
  return sizes;
}

}  // namespace

std::vector<std::string> gather_at_root(comm::Communicator& world, const std::string& message) {
  const auto sizes = gather_sizes(world, message);
  const std::vector<comm::Send> sends = {{0, bytes_of(message)}};
  std::vector<std::string> messages;
  std::vector<comm::Receive> receives;
  if (world.rank() == 0) {
    for (const std::int64_t size : sizes) messages.emplace_back(static_cast<std::size_t>(size), '\0');
    for (std::size_t rank = 0; rank < messages.size(); ++rank)
      receives.push_back({static_cast<int>(rank), room_of(messages[rank])});
  }
  world.exchange(sends, receives).wait();
  return messages;
}

std::string scatter_from_root(comm::Communicator& world, const std::vector<std::string>& messages) {
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(world.size()));
  std::vector<comm::Send> sends;
  if (world.rank() == 0) {
    for (std::size_t rank = 0; rank < sizes.size(); ++rank) {
      sizes[rank] = static_cast<std::int64_t>(messages.at(rank).size());
      sends.push_back({static_cast<int>(rank), bytes_of(messages[rank])});
    }
  }
  world.broadcast({sizes.data(), static_cast<std::int64_t>(sizes.size()), comm::Dtype::kInt64}, 0).wait();
  std::string message(static_cast<std::size_t>(sizes[static_cast<std::size_t>(world.rank())]), '\0');
  const std::vector<comm::Receive> receives = {{0, room_of(message)}};
  world.exchange(sends, receives).wait();
  return message;
}

std::string first_error(comm::Communicator& world, const std::string& error) {
  const auto sizes = gather_sizes(world, error);
  const auto failed = std::ranges::find_if(sizes, [](std::int64_t size) { return size > 0; });
  if (failed == sizes.end()) return {};
  const auto rank = static_cast<int>(failed - sizes.begin());
  return fmt::format("rank {}: {}", rank, comm::broadcast_text(world, error, rank));
}

}  // namespace ballast::checkpoint
