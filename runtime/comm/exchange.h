#pragma once
// Rows that travel between ranks as the plan says. A ring step, a remap and an expert dispatch are exchanges.
#include <cstdint>
#include <span>

#include "runtime/comm/communicator.h"
#include "scheduler/plan/plan.h"

namespace ballast::comm {

/// A row-major matrix that an exchange reads: `num_rows` rows of `row_elements` elements, without gaps. Does not own.
struct ConstRows {
  const void* data = nullptr;
  std::int64_t num_rows = 0;
  std::int64_t row_elements = 0;
  Dtype dtype = Dtype::kUint8;
  Device device = Device::kHost;
};
/// A row-major matrix that an exchange writes.
struct Rows {
  void* data = nullptr;
  std::int64_t num_rows = 0;
  std::int64_t row_elements = 0;
  Dtype dtype = Dtype::kUint8;
  Device device = Device::kHost;
  operator ConstRows() const { return {data, num_rows, row_elements, dtype, device}; }
};

/// Rows that `rank` sends, those to itself included.
std::int64_t num_sent_rows(std::span<const scheduler::Transfer> transfers, int rank);
/// Rows that `rank` receives, those from itself included.
std::int64_t num_received_rows(std::span<const scheduler::Transfer> transfers, int rank);

/// The transfers of the opposite direction: what a dispatch brought, its combine takes back.
std::vector<scheduler::Transfer> reversed(std::span<const scheduler::Transfer> transfers);

/// Executes `transfers`, a list in any order that is equal on all ranks. `send` holds this rank's rows in order of destination,
/// `receive` gets rows in order of source; transfers of one (source, destination) pair follow each other as in the list.
/// Input: `send` has exactly num_sent_rows, `receive` exactly num_received_rows rows, of equal row size and dtype.
/// Throws: std::invalid_argument, CommError.
Pending exchange(Communicator& communicator, std::span<const scheduler::Transfer> transfers, ConstRows send, Rows receive);

}  // namespace ballast::comm
