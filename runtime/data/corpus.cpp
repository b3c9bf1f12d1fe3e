#include "runtime/data/corpus.h"

#include <fmt/core.h>
#include <xxhash.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "runtime/data/data.pb.h"
#include "runtime/data/data_error.h"
#include "runtime/data/document_digest.h"
#include "runtime/data/json_lines.h"
#include "runtime/data/megatron_documents.h"
#include "runtime/data/split.h"
#include "runtime/data/text_files.h"

namespace ballast::data {

std::unique_ptr<TokenDocuments> open_documents(const schema::Data& options, const Tokenizer& tokenizer) {
  switch (options.source_case()) {
    case schema::Data::kTextFiles: {
      const auto& source = options.text_files();
      return tokenizer.tokenize(read_text_files(source.folder(), source.glob(), source.max_file_bytes()));
    }
    case schema::Data::kJsonLines:
      return tokenizer.tokenize(read_json_lines(options.json_lines().path(), options.json_lines().text_key()));
    case schema::Data::kMegatron:
      return open_megatron_documents(options.megatron().prefix(), tokenizer);
    case schema::Data::SOURCE_NOT_SET:
      throw std::invalid_argument("data: no source; give one of text_files, json_lines, megatron");
  }
  throw std::logic_error("data: a source without a reader");
}

Corpus open_corpus(const schema::Data& options) {
  const std::shared_ptr<const Tokenizer> tokenizer = make_tokenizer(options.tokenizer());
  const std::shared_ptr<const TokenDocuments> documents = open_documents(options, *tokenizer);
  if (documents->size() == 0) {
    throw DataError(fmt::format("data: all {} documents of the source are empty", documents->num_empty()));
  }

  std::vector<std::uint64_t> hashes;
  std::vector<std::int64_t> num_bytes;
  for (std::int64_t document = 0; document < documents->size(); ++document) {
    const auto found = digest(*documents, document, *tokenizer);
    hashes.push_back(found.hash);
    num_bytes.push_back(found.num_bytes);
  }
  const auto bytes_of = [&](const std::vector<std::int64_t>& side) {
    std::int64_t sum = 0;
    for (const std::int64_t document : side) sum += num_bytes[static_cast<std::size_t>(document)];
    return sum;
  };
  Split split = split_documents(hashes, options.held_out_fraction());
  const std::int64_t train_bytes = bytes_of(split.train);
  const std::int64_t held_out_bytes = bytes_of(split.held_out);

  SequenceOptions sequences{tokenizer->bos(), tokenizer->eos(), options.max_sequence_tokens(), options.seed()};
  SequenceSource train(documents, std::move(split.train), sequences);
  sequences.shuffle_seed.reset();
  SequenceSource held_out(documents, std::move(split.held_out), sequences);

  const std::string meaning =
      fmt::format("{} {} {} {}", options.tokenizer(), options.max_sequence_tokens(), options.seed(), options.held_out_fraction());
  const std::uint64_t fingerprint =
      XXH64(hashes.data(), hashes.size() * sizeof hashes[0], XXH64(meaning.data(), meaning.size(), 0));
  return {tokenizer, documents, std::move(train), std::move(held_out), train_bytes, held_out_bytes, fingerprint};
}

std::int64_t num_target_bytes(const Sequence& sequence, const Tokenizer& tokenizer) {
  std::int64_t sum = 0;
  for (const std::int32_t token : sequence.targets()) sum += tokenizer.num_bytes_of(token);
  return sum;
}

}  // namespace ballast::data
