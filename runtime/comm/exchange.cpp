#include "runtime/comm/exchange.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace ballast::comm {
namespace {

// This rank's transfers in the order of their rows: by peer, then as in the list.
std::vector<scheduler::Transfer> own_transfers(std::span<const scheduler::Transfer> transfers, int scheduler::Transfer::*own,
                                               int scheduler::Transfer::*peer, int rank) {
  std::vector<scheduler::Transfer> result;
  std::ranges::copy_if(transfers, std::back_inserter(result), [&](const auto& t) { return t.*own == rank; });
  std::ranges::stable_sort(result, {}, peer);
  return result;
}

std::int64_t sum_of_rows(std::span<const scheduler::Transfer> transfers, int scheduler::Transfer::*own, int rank) {
  std::int64_t num_rows = 0;
  for (const scheduler::Transfer& transfer : transfers) {
    if (transfer.*own == rank) num_rows += transfer.num_rows;
  }
  return num_rows;
}

template <class... Args>
[[noreturn]] void fail(const Communicator& communicator, fmt::format_string<Args...> text, Args&&... args) {
  throw std::invalid_argument(fmt::format("exchange of rows on rank {} of {}: {}", communicator.rank(), communicator.size(),
                                          fmt::format(text, std::forward<Args>(args)...)));
}

void check(const Communicator& communicator, std::span<const scheduler::Transfer> transfers, const ConstRows& send,
           const ConstRows& receive) {
  if (send.dtype != receive.dtype || send.row_elements != receive.row_elements) {
    fail(communicator, "a row is {} {} in send and {} {} in receive; both must be equal", send.row_elements, name(send.dtype),
         receive.row_elements, name(receive.dtype));
  }
  if (send.row_elements < 0) fail(communicator, "a row has {} elements; at least 0 are wanted", send.row_elements);
  std::int64_t left = std::numeric_limits<std::int64_t>::max();
  if (send.row_elements > 0) left /= send.row_elements * size_in_bytes(send.dtype);
  for (std::size_t i = 0; i < transfers.size(); ++i) {
    const auto& [src, dst, num_rows] = transfers[i];
    if (std::min(src, dst) < 0 || std::max(src, dst) >= communicator.size()) {
      fail(communicator, "transfer {} goes from rank {} to rank {}; ranks are 0 to {}", i, src, dst, communicator.size() - 1);
    }
    if (num_rows < 0) fail(communicator, "transfer {} from rank {} to rank {} has {} rows", i, src, dst, num_rows);
    if (num_rows > left) fail(communicator, "transfers 0 to {} hold more bytes than 63 bits count", i);
    left -= num_rows;
  }
  const std::int64_t num_sent = num_sent_rows(transfers, communicator.rank());
  if (send.num_rows != num_sent) fail(communicator, "send has {} rows, the transfers take {}", send.num_rows, num_sent);
  const std::int64_t num_received = num_received_rows(transfers, communicator.rank());
  if (receive.num_rows != num_received) {
    fail(communicator, "receive has {} rows, the transfers bring {}", receive.num_rows, num_received);
  }
}

}  // namespace

std::int64_t num_sent_rows(std::span<const scheduler::Transfer> transfers, int rank) {
  return sum_of_rows(transfers, &scheduler::Transfer::src, rank);
}

std::int64_t num_received_rows(std::span<const scheduler::Transfer> transfers, int rank) {
  return sum_of_rows(transfers, &scheduler::Transfer::dst, rank);
}

std::vector<scheduler::Transfer> reversed(std::span<const scheduler::Transfer> transfers) {
  std::vector<scheduler::Transfer> result;
  result.reserve(transfers.size());
  for (const auto& [src, dst, num_rows] : transfers) result.push_back({dst, src, num_rows});
  return result;
}

Pending exchange(Communicator& communicator, std::span<const scheduler::Transfer> transfers, ConstRows send, Rows receive) {
  check(communicator, transfers, send, receive);
  const std::int64_t row_bytes = send.row_elements * size_in_bytes(send.dtype);
  std::vector<Send> sends;
  const auto* read = static_cast<const std::byte*>(send.data);
  for (const auto& [src, dst, num_rows] :
       own_transfers(transfers, &scheduler::Transfer::src, &scheduler::Transfer::dst, communicator.rank())) {
    sends.push_back({dst, {read, num_rows * send.row_elements, send.dtype, send.device}});
    read += num_rows * row_bytes;
  }
  std::vector<Receive> receives;
  auto* written = static_cast<std::byte*>(receive.data);
  for (const auto& [src, dst, num_rows] :
       own_transfers(transfers, &scheduler::Transfer::dst, &scheduler::Transfer::src, communicator.rank())) {
    receives.push_back({src, {written, num_rows * receive.row_elements, receive.dtype, receive.device}});
    written += num_rows * row_bytes;
  }
  return communicator.exchange(sends, receives);
}

}  // namespace ballast::comm
