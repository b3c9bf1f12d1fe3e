// ballast data: look at a corpus without training on it.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <array>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "launch/commands.h"
#include "launch/config_file.h"
#include "launch/exit_code.h"
#include "runtime/data/corpus.h"
#include "runtime/data/data.pb.h"
#include "runtime/data/data_error.h"
#include "runtime/data/document_digest.h"
#include "runtime/data/megatron_documents.h"
#include "runtime/data/megatron_writer.h"
#include "runtime/train/run_config.pb.h"

namespace ballast::launch {
namespace {

constexpr std::array kQuantiles{0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0};

nlohmann::ordered_json describe(const data::SequenceSource& source, std::int64_t num_bytes) {
  nlohmann::ordered_json lengths;
  const auto quantiles = source.length_quantiles(kQuantiles);
  for (std::size_t i = 0; i < kQuantiles.size(); ++i) lengths[fmt::format("{}", kQuantiles[i])] = quantiles[i];
  return {{"documents", source.num_documents()},
          {"cut_documents", source.num_cut_documents()},
          {"sequences", source.num_sequences()},
          {"tokens", source.num_tokens()},
          {"bytes", num_bytes},
          {"sequence_tokens_quantiles", lengths}};
}

/// What training would see.
int inspect(const schema::Data& options, const CommandLine& line) {
  const data::Corpus corpus = data::open_corpus(options);
  const nlohmann::ordered_json report = {{"empty_documents", corpus.documents->num_empty()},
                                         {"vocabulary", corpus.tokenizer->vocab_size()},
                                         {"fingerprint", fmt::format("{:016x}", corpus.fingerprint)},
                                         {"train", describe(corpus.train, corpus.train_bytes)},
                                         {"held_out", describe(corpus.held_out, corpus.held_out_bytes)}};
  if (line.json) {
    *line.output << report.dump() << '\n';
    return 0;
  }
  *line.output << fmt::format("{:<16}{:>14}{:>14}\n", "", "train", "held out");
  for (const char* row : {"documents", "cut_documents", "sequences", "tokens", "bytes"}) {
    *line.output << fmt::format("{:<16}{:>14}{:>14}\n", row, report["train"][row].get<std::int64_t>(),
                                report["held_out"][row].get<std::int64_t>());
  }
  for (const double fraction : kQuantiles) {
    const auto key = fmt::format("{}", fraction);
    const auto of = [&](const char* side) { return report[side]["sequence_tokens_quantiles"][key].get<std::int64_t>(); };
    *line.output << fmt::format("length {:>3.0f} %   {:>15}{:>14}\n", 100 * fraction, of("train"), of("held_out"));
  }
  *line.output << fmt::format("{} empty documents skipped, vocabulary {}, fingerprint {}\n", corpus.documents->num_empty(),
                              corpus.tokenizer->vocab_size(), report["fingerprint"].get<std::string>());
  return 0;
}

/// Reads every token of every document.
int verify(const schema::Data& options, const CommandLine& line) {
  const auto tokenizer = data::make_tokenizer(options.tokenizer());
  const auto documents = data::open_documents(options, *tokenizer);
  std::int64_t num_tokens = 0, num_bytes = 0;
  for (std::int64_t document = 0; document < documents->size(); ++document) {
    num_tokens += documents->length(document);
    num_bytes += data::digest(*documents, document, *tokenizer).num_bytes;
  }
  if (line.json) {
    const nlohmann::ordered_json report = {{"documents", documents->size()},
                                           {"empty_documents", documents->num_empty()},
                                           {"tokens", num_tokens},
                                           {"bytes", num_bytes}};
    *line.output << report.dump() << '\n';
  } else {
    *line.output << fmt::format("every token is sound: {} documents ({} empty ones skipped), {} tokens, {} bytes of text\n",
                                documents->size(), documents->num_empty(), num_tokens, num_bytes);
  }
  return 0;
}

/// Writes the documents as a Megatron data set, each with its end mark.
int tokenize(const schema::Data& options, const CommandLine& line) {
  if (line.out_path.empty()) {
    throw UsageError("ballast data tokenize: --out is missing; give the path of the .bin and .idx files without their endings");
  }
  const auto tokenizer = data::make_tokenizer(options.tokenizer());
  const auto documents = data::open_documents(options, *tokenizer);
  data::MegatronWriter writer(line.out_path, tokenizer->vocab_size());
  std::int64_t num_tokens = 0;
  std::vector<std::int32_t> tokens;
  for (std::int64_t document = 0; document < documents->size(); ++document) {
    tokens.resize(static_cast<std::size_t>(documents->length(document)));
    documents->read(document, 0, tokens);
    tokens.push_back(tokenizer->eos());
    writer.add_document(tokens);
    num_tokens += static_cast<std::int64_t>(tokens.size());
  }
  writer.finish();
  if (line.json) {
    const nlohmann::ordered_json report = {{"documents", documents->size()},
                                           {"empty_documents", documents->num_empty()},
                                           {"tokens", num_tokens},
                                           {"out", line.out_path}};
    *line.output << report.dump() << '\n';
  } else {
    *line.output << fmt::format(
        "{} and .bin: {} documents ({} empty ones skipped), {} tokens; train on it with\n"
        "  data {{ megatron {{ prefix: \"{}\" }} }}\n",
        data::megatron_index_path(line.out_path).string(), documents->size(), documents->num_empty(), num_tokens, line.out_path);
  }
  return 0;
}

struct Action {
  std::string_view name;
  int (*run)(const schema::Data&, const CommandLine&);
};
constexpr Action kActions[] = {{"inspect", inspect}, {"verify", verify}, {"tokenize", tokenize}};

}  // namespace

int run_data(const CommandLine& line) {
  for (const Action& action : kActions) {
    if (action.name != line.arguments[0]) continue;
    if (!line.out_path.empty() && action.run != tokenize) {
      throw UsageError(fmt::format("ballast data {}: --out is for tokenize", action.name));
    }
    return action.run(load_run_config(line.arguments[1], line.set, std::nullopt).run->data(), line);
  }
  throw UsageError(fmt::format("ballast data: '{}' is not known; choose inspect, verify or tokenize", line.arguments[0]));
}

}  // namespace ballast::launch
