#include "runtime/data/document_digest.h"

#include <fmt/core.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <memory>
#include <vector>

#include "runtime/data/data_error.h"

namespace ballast::data {

static_assert(std::endian::native == std::endian::little, "token files and hashes are little-endian");

DocumentDigest digest(const TokenDocuments& documents, std::int64_t document, const Tokenizer& tokenizer) {
  constexpr std::int64_t kBlockTokens = 1 << 14;
  struct FreeState {
    void operator()(XXH64_state_t* state) const { XXH64_freeState(state); }
  };
  const std::unique_ptr<XXH64_state_t, FreeState> state(XXH64_createState());
  XXH64_reset(state.get(), 0);

  DocumentDigest result;
  const std::int64_t length = documents.length(document);
  std::vector<std::int32_t> block;
  for (std::int64_t begin = 0; begin < length; begin += kBlockTokens) {
    block.resize(static_cast<std::size_t>(std::min(kBlockTokens, length - begin)));
    documents.read(document, begin, block);
    for (std::size_t i = 0; i < block.size(); ++i) {
      if (block[i] < 0 || block[i] >= tokenizer.vocab_size()) {
        throw DataError(fmt::format("{}: token {} at position {} is outside the vocabulary of the '{}' tokenizer, [0, {})",
                                    documents.name(document), block[i], begin + static_cast<std::int64_t>(i), tokenizer.name(),
                                    tokenizer.vocab_size()));
      }
      result.num_bytes += tokenizer.num_bytes_of(block[i]);
    }
    XXH64_update(state.get(), block.data(), block.size() * sizeof block[0]);
  }
  result.hash = XXH64_digest(state.get());
  return result;
}

}  // namespace ballast::data
