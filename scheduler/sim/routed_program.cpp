#include "scheduler/sim/routed_program.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>

#include "scheduler/route/route.h"

namespace ballast::scheduler {

namespace {

/// A piece of a routed message, with its place in the order of its source.
struct Piece {
  int slice = 0;
  ProgramMessage message;
};

}  // namespace

void route_messages(PassProgram& program, const Topology& topology) {
  // Exchanges of all ranks that are one, together. Only messages between nodes can be relayed, but those inside share the links.
  std::vector<std::int64_t> order(program.messages.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const auto key = [&](std::int64_t m) {
    const ProgramExchange& exchange = program.exchanges[program.messages[m].src_exchange];
    return std::tuple(exchange.stage, exchange.queue, exchange.round);
  };
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) { return key(a) < key(b); });

  std::vector<std::vector<Piece>> pieces(program.exchanges.size());  // by sending exchange
  for (std::size_t first = 0, last = 0; first < order.size(); first = last) {
    while (last < order.size() && key(order[last]) == key(order[first])) ++last;
    std::vector<Transfer> transfers;
    for (std::size_t i = first; i < last; ++i) {
      const ProgramMessage& message = program.messages[order[i]];
      transfers.push_back({message.src, message.dst, message.bytes});
    }
    const RoutedExchange routed = route(transfers, 1, topology);
    if (!routed.is_routed) {
      for (std::size_t i = first; i < last; ++i) {
        const ProgramMessage& message = program.messages[order[i]];
        pieces[message.src_exchange].push_back({0, message});
      }
      continue;
    }
    for (const RoutedPart& part : routed.parts) {
      Piece piece;
      piece.message = program.messages[order[first + static_cast<std::size_t>(part.message)]];
      piece.message.src_proxy = part.src_proxy;
      piece.message.dst_proxy = part.dst_proxy;
      for (int slice = part.first_slice; slice < part.first_slice + part.num_slices; ++slice) {
        const RowRange rows = slice_rows(part, slice);
        piece.slice = slice;
        piece.message.bytes = rows.end - rows.begin;
        if (piece.message.bytes > 0) pieces[piece.message.src_exchange].push_back(piece);
      }
    }
  }

  program.messages.clear();
  for (std::size_t e = 0; e < program.exchanges.size(); ++e) {
    ProgramExchange& exchange = program.exchanges[e];
    std::vector<Piece>& own = pieces[e];
    std::stable_sort(own.begin(), own.end(), [](const Piece& a, const Piece& b) { return a.slice < b.slice; });
    exchange.first_send = static_cast<std::int32_t>(program.messages.size());
    for (const Piece& piece : own) program.messages.push_back(piece.message);
    exchange.last_send = static_cast<std::int32_t>(program.messages.size());
    std::vector<Piece>().swap(own);
  }
  count_receives(program);
}

}  // namespace ballast::scheduler
