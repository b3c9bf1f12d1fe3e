#include "runtime/model/expert_exchange.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <numeric>

#include "runtime/comm/exchange.h"
#include "runtime/model/tensor_buffer.h"

namespace ballast::model {
namespace {

at::Tensor to_tensor(const std::vector<std::int64_t>& values) {
  at::Tensor tensor = at::empty({static_cast<std::int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), tensor.data_ptr<std::int64_t>());
  return tensor;
}

comm::Rows rows_of(const at::Tensor& matrix) {
  const comm::Buffer all = buffer(matrix);
  return {all.data, matrix.size(0), matrix.size(1), all.dtype, all.device};
}

}  // namespace

ExpertExchange expert_exchange(const at::Tensor& expert_NK, std::span<const std::vector<std::int64_t>> global_row, int ep_rank,
                               std::int64_t num_experts) {
  const std::int64_t num_slots = expert_NK.size(1);
  const std::int64_t* expert = expert_NK.data_ptr<std::int64_t>();
  const int ep_size = static_cast<int>(global_row.size());
  const std::int64_t experts_per_rank = num_experts / ep_size;

  // count[i][e]: rows from ep rank i to expert e.
  std::vector<std::vector<std::int64_t>> count(global_row.size(),
                                               std::vector<std::int64_t>(static_cast<std::size_t>(num_experts)));
  for (std::size_t i = 0; i < global_row.size(); ++i) {
    for (const std::int64_t row : global_row[i]) {
      for (std::int64_t k = 0; k < num_slots; ++k) ++count[i][static_cast<std::size_t>(expert[row * num_slots + k])];
    }
  }

  ExpertExchange exchange;
  for (int src = 0; src < ep_size; ++src) {
    for (int dst = 0; dst < ep_size; ++dst) {
      const auto first = count[static_cast<std::size_t>(src)].begin() + dst * experts_per_rank;
      const std::int64_t num = std::accumulate(first, first + experts_per_rank, std::int64_t{0});
      if (num == 0) continue;
      exchange.dispatch.push_back({src, dst, num});
    }
  }

  // Received rows lie by source, then expert; the grouped product wants them by expert, then source.
  std::vector<std::vector<std::int64_t>> start(count);  // of (source, expert) among the received rows
  std::int64_t num_received = 0;
  const std::int64_t first_expert = ep_rank * experts_per_rank;
  for (std::size_t src = 0; src < count.size(); ++src) {
    for (std::int64_t e = first_expert; e < first_expert + experts_per_rank; ++e) {
      start[src][static_cast<std::size_t>(e)] = num_received;
      num_received += count[src][static_cast<std::size_t>(e)];
    }
  }
  std::vector<std::int64_t> by_expert;
  by_expert.reserve(static_cast<std::size_t>(num_received));
  exchange.expert_offsets.push_back(0);
  for (std::int64_t e = first_expert; e < first_expert + experts_per_rank; ++e) {
    for (std::size_t src = 0; src < count.size(); ++src) {
      for (std::int64_t i = 0; i < count[src][static_cast<std::size_t>(e)]; ++i) {
        by_expert.push_back(start[src][static_cast<std::size_t>(e)] + i);
      }
    }
    exchange.expert_offsets.push_back(static_cast<std::int64_t>(by_expert.size()));
  }
  if (ep_size == 1) return exchange;
  std::vector<std::int64_t> by_source(by_expert.size());
  for (std::size_t i = 0; i < by_expert.size(); ++i)
    by_source[static_cast<std::size_t>(by_expert[i])] = static_cast<std::int64_t>(i);
  exchange.by_expert_S = to_tensor(by_expert);
  exchange.by_source_S = to_tensor(by_source);
  return exchange;
}

RowsInFlight::RowsInFlight(comm::Communicator& ep, std::span<const scheduler::Transfer> transfers, at::Tensor rows)
    : sent_(std::move(rows)) {
  if (ep.size() == 1) {
    received_ = sent_;
    return;
  }
  received_ = at::empty({comm::num_received_rows(transfers, ep.rank()), sent_.size(1)}, sent_.options());
  pending_ = comm::exchange(ep, transfers, rows_of(sent_), rows_of(received_));
}

at::Tensor RowsInFlight::wait() {
  pending_.wait();
  return received_;
}

}  // namespace ballast::model
