#pragma once
// A run as one HTML page.
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "runtime/metrics/metrics_record.h"

namespace ballast::metrics {

/// Names and values of summary.json, in its order.
using Facts = std::vector<std::pair<std::string, std::string>>;

/// A page that needs no other file: the facts, then plots of loss, gradient norm, learning rate, tokens per second, time of the
/// phases, imbalance between ranks, memory, and one heat map of expert loads per MoE layer.
/// Input: records in the order of their steps; none: the page says so.
std::string run_page(const std::string& title, std::span<const MetricsRecord> records, const Facts& facts);

}  // namespace ballast::metrics
