#include "launch/config_check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "runtime/data/tokenizer.h"
#include "runtime/train/run_config.pb.h"
#include "scheduler/field_options.pb.h"
#include "scheduler/policy/registry.h"
#include "scheduler/topology/topology.h"
#include "scheduler/topology/topology_io.h"

namespace ballast::launch {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

std::string parent_of(const std::string& path) {
  const std::size_t dot = path.rfind('.');
  return dot == path.npos ? "" : path.substr(0, dot);
}

/// Where the field was given, or the nearest message around it, or the top of the run file.
Position position_of(std::string path, const ConfigReading& reading) {
  for (; !path.empty(); path = parent_of(path)) {
    if (const auto given = reading.positions.find(path); given != reading.positions.end()) return given->second;
  }
  return {reading.main_source, 1, 1};
}

/// A field is doubtful when it or something in it has a finding, or when it was not given in a message with an unknown field
/// (which may have meant it).
bool is_doubtful(const std::string& path, const ConfigReading& reading) {
  if (reading.is_broken) return true;
  // Of the paths that begin like this one, "path", "path.field" and "path[0]" sort first.
  const auto first = reading.doubtful.lower_bound(path);
  if (first != reading.doubtful.end() && first->starts_with(path)) {
    const std::string_view rest = std::string_view(*first).substr(path.size());
    if (rest.empty() || rest[0] == '.' || rest[0] == '[') return true;
  }
  if (reading.positions.contains(path)) return false;
  for (std::string parent = path; !parent.empty();) {
    parent = parent_of(parent);
    if (reading.doubtful.contains(parent)) return true;
    if (reading.positions.contains(parent)) return false;
  }
  return false;
}

double number_of(const Message& message, const FieldDescriptor& field) {
  const auto& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.GetInt32(message, &field);
    case FieldDescriptor::CPPTYPE_INT64:
      return static_cast<double>(reflection.GetInt64(message, &field));
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection.GetUInt32(message, &field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return static_cast<double>(reflection.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return reflection.GetFloat(message, &field);
    default:
      return reflection.GetDouble(message, &field);
  }
}

void check_value(const Message& message, const FieldDescriptor& field, const std::string& path, ConfigReading& reading) {
  const auto& options = field.options();
  const auto add = [&](const std::string& text) {
    reading.add_finding(position_of(path, reading), text);
    reading.doubtful.insert(path);
  };
  if (options.HasExtension(schema::min) && number_of(message, field) < options.GetExtension(schema::min)) {
    add(fmt::format("{} = {}: at least {} is wanted", path, number_of(message, field), options.GetExtension(schema::min)));
  }
  if (options.HasExtension(schema::max) && number_of(message, field) > options.GetExtension(schema::max)) {
    add(fmt::format("{} = {}: at most {} is wanted", path, number_of(message, field), options.GetExtension(schema::max)));
  }
  if (const int num_choices = options.ExtensionSize(schema::choice); num_choices > 0) {
    const std::string value = message.GetReflection()->GetString(message, &field);
    std::vector<std::string> choices;
    for (int i = 0; i < num_choices; ++i) choices.push_back(options.GetExtension(schema::choice, i));
    if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
      add(fmt::format("{} = \"{}\" is not known; choose one of {}", path, value, fmt::join(choices, ", ")));
    }
  }
}

/// The numbers of ranks that divide both.
std::vector<std::int64_t> common_divisors(std::int64_t a, std::int64_t b) {
  constexpr std::int64_t kMostRanks = 1 << 20;
  std::vector<std::int64_t> divisors;
  for (std::int64_t d = 1; d <= std::min({a, b, kMostRanks}); ++d) {
    if (a % d == 0 && b % d == 0) divisors.push_back(d);
  }
  return divisors;
}

/// Adds findings of the second pass.
class Expectations {
 public:
  explicit Expectations(ConfigReading& reading) : reading_(reading) {}

  /// Unless `holds`, a finding at the first of `paths` that was given. Left out when one of them is doubtful.
  template <class Text>
  void expect(bool holds, std::initializer_list<std::string> paths, const Text& text) {
    if (holds || std::any_of(paths.begin(), paths.end(), [&](const std::string& path) { return is_doubtful(path, reading_); })) {
      return;
    }
    const auto given =
        std::find_if(paths.begin(), paths.end(), [&](const std::string& path) { return reading_.positions.contains(path); });
    reading_.add_finding(position_of(given == paths.end() ? *paths.begin() : *given, reading_), text());
  }

  /// Makes something from fields of the run; if that is refused, the reason becomes a finding and the result is empty.
  template <class Make>
  auto try_make(std::initializer_list<std::string> paths, const Make& make) -> std::optional<decltype(make())> {
    try {
      return make();
    } catch (const std::invalid_argument& error) {
      expect(false, paths, [&] { return std::string(error.what()); });
      return std::nullopt;
    }
  }

 private:
  ConfigReading& reading_;
};

void check_model(const schema::Model& model, Expectations& check) {
  check.expect(model.num_key_value_heads() >= 1 &&
                   model.num_attention_heads() % std::max<std::int64_t>(model.num_key_value_heads(), 1) == 0,
               {"model.num_key_value_heads", "model.num_attention_heads"}, [&] {
                 return fmt::format("model.num_key_value_heads = {} does not divide model.num_attention_heads = {}",
                                    model.num_key_value_heads(), model.num_attention_heads());
               });
  check.expect(model.head_dim() % 2 == 0, {"model.head_dim"}, [&] {
    return fmt::format("model.head_dim = {} is odd; rotary positions turn pairs, so it must be even", model.head_dim());
  });
  check.expect(model.num_dense_layers() <= model.num_layers(), {"model.num_dense_layers", "model.num_layers"}, [&] {
    return fmt::format("model.num_dense_layers = {} is more than model.num_layers = {}", model.num_dense_layers(),
                       model.num_layers());
  });
  if (model.num_experts() > 0) {
    check.expect(model.experts_per_token() <= model.num_experts(), {"model.experts_per_token", "model.num_experts"}, [&] {
      return fmt::format("model.experts_per_token = {} is more than model.num_experts = {}", model.experts_per_token(),
                         model.num_experts());
    });
    check.expect(model.expert_intermediate_size() >= 1, {"model.expert_intermediate_size", "model.num_experts"}, [&] {
      return fmt::format("model.expert_intermediate_size = {} with model.num_experts = {}; give the hidden width of one expert",
                         model.expert_intermediate_size(), model.num_experts());
    });
  }
}

/// Experts and nodes against the ranks. Returns: the number of ranks, if it is known.
std::optional<int> check_ranks(const schema::RunConfig& run, const ConfigSources& sources, Expectations& check) {
  std::optional<int> world = sources.world;
  const std::int64_t ep = run.parallel().ep();
  const std::int64_t num_experts = run.model().num_experts();
  const auto topology = check.try_make({"cluster"}, [&] { return scheduler::topology_from(run.cluster()); });
  const bool names_nodes = run.cluster().nodes_size() > 0 || run.cluster().has_uniform();
  if (world && topology && sources.resizes_cluster) {
    check.try_make({"cluster", "cluster_file"}, [&] { return scheduler::resized(*topology, *world); });
  } else if (world && topology && names_nodes) {
    check.expect(*world == topology->num_ranks(), {"cluster", "cluster_file"}, [&] {
      return fmt::format("the cluster has {} ranks on {} nodes, but the world has {}; start {} ranks, or name another cluster",
                         topology->num_ranks(), topology->num_nodes(), *world, topology->num_ranks());
    });
  }
  if (!world && topology && names_nodes) world = topology->num_ranks();

  const std::int64_t ranks = world.value_or(std::numeric_limits<int>::max());
  check.expect(ep == 1 || num_experts > 0, {"parallel.ep", "model.num_experts"},
               [&] { return fmt::format("parallel.ep = {}, but model.num_experts = 0; without experts ep is 1", ep); });
  check.expect(num_experts == 0 || num_experts % ep == 0, {"parallel.ep", "model.num_experts"}, [&] {
    return fmt::format("parallel.ep = {} does not divide model.num_experts = {}; choose one of {}", ep, num_experts,
                       fmt::join(common_divisors(num_experts, world ? ranks : num_experts), ", "));
  });
  check.expect(!world || ranks % ep == 0, {"parallel.ep"}, [&] {
    return fmt::format("parallel.ep = {} does not divide the number of ranks, {}; choose one of {}", ep, ranks,
                       fmt::join(common_divisors(ranks, std::max<std::int64_t>(num_experts, 1)), ", "));
  });
  return world;
}

void check_data(const schema::RunConfig& run, Expectations& check) {
  const schema::Model& model = run.model();
  const schema::Data& data = run.data();
  check.expect(data.source_case() != schema::Data::SOURCE_NOT_SET, {"data"},
               [] { return "data has no source; give one of text_files, json_lines, megatron"; });
  const auto tokenizer = check.try_make({"data.tokenizer"}, [&] { return data::make_tokenizer(data.tokenizer()); });
  if (tokenizer) {
    const std::int64_t vocabulary = (*tokenizer)->vocab_size();
    check.expect(model.vocab_size() >= vocabulary, {"model.vocab_size", "data.tokenizer"}, [&] {
      return fmt::format("model.vocab_size = {}, but the tokenizer \"{}\" has {} tokens; at least that many are wanted",
                         model.vocab_size(), data.tokenizer(), vocabulary);
    });
  }
  check.expect(data.max_sequence_tokens() <= model.max_position_embeddings(),
               {"data.max_sequence_tokens", "model.max_position_embeddings"}, [&] {
                 return fmt::format("data.max_sequence_tokens = {} is more than model.max_position_embeddings = {}",
                                    data.max_sequence_tokens(), model.max_position_embeddings());
               });
  check.expect(data.max_sequence_tokens() <= run.scheduler().tokens_per_step(),
               {"data.max_sequence_tokens", "scheduler.tokens_per_step"}, [&] {
                 return fmt::format(
                     "data.max_sequence_tokens = {} is more than scheduler.tokens_per_step = {}; a step could not hold "
                     "the longest sequence",
                     data.max_sequence_tokens(), run.scheduler().tokens_per_step());
               });
  check.expect(model.compute_type() == schema::FLOAT32 || model.compute_type() == schema::FLOAT64, {"model.compute_type"}, [&] {
    return fmt::format(
        "model.compute_type = {} cannot be trained yet: it needs float32 copies of the weights, which the optimizer "
        "does not keep; choose FLOAT32, or FLOAT64 for tests",
        schema::ComputeType_Name(model.compute_type()));
  });
}

/// Whether the ranks may hold the largest micro-batch of a run.
void check_room(const schema::Scheduler& scheduler, int num_ranks, Expectations& check) {
  const std::int64_t cap = scheduler.token_cap_per_rank();
  if (cap == 0) return;
  const std::int64_t micro_batch =
      scheduler.tokens_per_micro_batch() > 0 ? scheduler.tokens_per_micro_batch() : scheduler.tokens_per_step();
  check.expect((micro_batch + cap - 1) / cap <= num_ranks,
               {"scheduler.token_cap_per_rank", "scheduler.tokens_per_micro_batch", "scheduler.tokens_per_step"}, [&] {
                 return fmt::format(
                     "scheduler.token_cap_per_rank = {} on {} ranks holds {} tokens, but a micro-batch may have {}; at "
                     "least {} are wanted",
                     cap, num_ranks, cap * num_ranks, micro_batch, (micro_batch + num_ranks - 1) / num_ranks);
               });
}

}  // namespace

void check_fields(const Message& message, const std::string& path, ConfigReading& reading) {
  const auto& reflection = *message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *message.GetDescriptor()->field(i);
    const std::string full = field_path(path, field.name());
    if (field.is_repeated() && field.message_type()) {
      for (int entry = 0; entry < reflection.FieldSize(message, &field); ++entry) {
        check_fields(reflection.GetRepeatedMessage(message, &field, entry), fmt::format("{}[{}]", full, entry), reading);
      }
    } else if (field.is_repeated()) {
      continue;  // the schema states no limits for entries of lists
    } else if (!reflection.HasField(message, &field)) {
      if (field.options().GetExtension(schema::required) && !is_doubtful(full, reading)) {
        reading.add_finding(position_of(full, reading), fmt::format("{} is missing; it has no default", full));
        reading.doubtful.insert(full);
      }
    } else if (field.message_type()) {
      check_fields(reflection.GetMessage(message, &field), full, reading);
    } else if (!reading.doubtful.contains(full)) {
      check_value(message, field, full, reading);
    }
  }
}

void check_run(const schema::RunConfig& run, const ConfigSources& sources, ConfigReading& reading) {
  Expectations check(reading);
  if (!reading.positions.contains("model")) {
    return check.expect(false, {"model"}, [] { return "model is missing; name a file with model_file, or write model { ... }"; });
  }
  check_model(run.model(), check);
  const std::optional<int> num_ranks = check_ranks(run, sources, check);
  check.try_make({"scheduler.policy"}, [&] { return &scheduler::find_policy(run.scheduler().policy()); });
  if (sources.run_file.empty() || sources.has_own_lengths) return;
  check_data(run, check);
  if (num_ranks) check_room(run.scheduler(), *num_ranks, check);
}

}  // namespace ballast::launch
