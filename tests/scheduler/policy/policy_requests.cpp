#include "tests/scheduler/policy/policy_requests.h"

#include <rapidcheck.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "scheduler/workload/length_table.h"

namespace ballast::scheduler {

namespace {

LengthTable read_table(const std::string& name) {
  const std::string path = std::string(BALLAST_SOURCE_DIR) + "/configs/workloads/" + name + ".csv";
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path + " cannot be read");
  std::ostringstream text;
  text << file.rdbuf();
  return parse_length_table(text.str(), path);
}

}  // namespace

PlanRequest plan_request(const std::string& policy, std::vector<std::int64_t> lengths, int num_nodes, int ranks_per_node) {
  PlanRequest request;
  Node node;
  node.num_ranks = ranks_per_node;
  request.topology = uniform_topology(num_nodes, node);
  request.model = small_model();
  request.options.policy = policy;
  request.lengths = std::move(lengths);
  return request;
}

std::vector<std::int64_t> random_lengths(int most_bits) {
  std::vector<std::int64_t> lengths;
  for (const int bits : *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, most_bits))) {
    lengths.push_back(*rc::gen::inRange<std::int64_t>(1, (std::int64_t{1} << bits) + 1));
  }
  return lengths;
}

std::string refusal_of(const PlanRequest& request) {
  try {
    make_plan(request);
  } catch (const InfeasiblePlan& error) {
    return error.what();
  }
  return "no error";
}

const std::vector<std::string>& table_names() {
  static const std::vector<std::string> names{"pile", "prolong64k", "prolong_distca_quantiles", "wikipedia_quantiles",
                                              "wlb_pretrain_quantiles"};
  return names;
}

std::vector<std::int64_t> drawn_lengths(const std::string& table, std::int64_t num_tokens, std::uint64_t seed) {
  constexpr std::int64_t kLongest = 65536;
  LengthTable lengths = read_table(table);
  const std::string suffix = "_quantiles";
  if (table.ends_with(suffix)) add_tail(lengths, read_table(table.substr(0, table.size() - suffix.size()) + "_tail_quantiles"));
  return draw_batch(lengths, {num_tokens, kLongest, lengths.bins.empty() ? 0 : kLongest, seed});
}

}  // namespace ballast::scheduler
