#include "runtime/data/megatron_writer.h"

#include <fmt/core.h>

#include <limits>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "runtime/data/data_error.h"
#include "runtime/data/megatron_documents.h"

namespace ballast::data {
namespace {

template <typename T>
void write(std::ofstream& out, const T& value) {
  out.write(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace

MegatronWriter::MegatronWriter(std::filesystem::path prefix, std::int64_t vocab_size)
    : prefix_(std::move(prefix)),
      vocab_size_(vocab_size),
      type_(token_type_for_vocabulary(vocab_size)),
      partial_tokens_(prefix_.string() + ".bin.partial"),
      partial_index_(prefix_.string() + ".idx.partial") {
  for (const auto& path : {megatron_tokens_path(prefix_), megatron_index_path(prefix_)}) {
    if (std::filesystem::exists(path)) {
      throw DataError(fmt::format("{}: exists already; nothing is overwritten, choose another name", path.string()));
    }
  }
  tokens_.open(partial_tokens_, std::ios::binary | std::ios::trunc);
  if (!tokens_) throw DataError(fmt::format("{}: cannot be made; does its folder exist?", partial_tokens_.string()));
}

MegatronWriter::~MegatronWriter() {
  std::error_code ignored;
  std::filesystem::remove(partial_tokens_, ignored);
  std::filesystem::remove(partial_index_, ignored);
}

void MegatronWriter::check_tokens_file() const {
  if (!tokens_) throw DataError(fmt::format("{}: writing failed; is the disk full?", partial_tokens_.string()));
}

void MegatronWriter::add_document(std::span<const std::int32_t> tokens) {
  if (tokens.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    throw std::invalid_argument(fmt::format("a document of {} tokens; the format holds at most 2^31 - 1", tokens.size()));
  }
  for (const std::int32_t token : tokens) {
    if (token < 0 || token >= vocab_size_) {
      throw std::invalid_argument(fmt::format("token {} is outside the vocabulary, [0, {})", token, vocab_size_));
    }
    if (type_ == TokenType::kUint16) {
      write(tokens_, static_cast<std::uint16_t>(token));
    } else {
      write(tokens_, token);
    }
  }
  check_tokens_file();
  length_.push_back(static_cast<std::int32_t>(tokens.size()));
}

void MegatronWriter::finish() {
  tokens_.close();
  check_tokens_file();

  std::ofstream index(partial_index_, std::ios::binary | std::ios::trunc);
  const auto num_documents = static_cast<std::int64_t>(length_.size());
  write(index, kMegatronMagic);
  write(index, std::uint64_t{1});
  write(index, type_);
  write(index, num_documents);
  write(index, num_documents + 1);
  for (const std::int32_t length : length_) write(index, length);
  std::int64_t begin_bytes = 0;
  for (const std::int32_t length : length_) {
    write(index, begin_bytes);
    begin_bytes += length * size_in_bytes(type_);
  }
  for (std::int64_t boundary = 0; boundary <= num_documents; ++boundary) write(index, boundary);
  index.close();
  if (!index) throw DataError(fmt::format("{}: writing failed; is the disk full?", partial_index_.string()));

  std::filesystem::rename(partial_tokens_, megatron_tokens_path(prefix_));
  std::filesystem::rename(partial_index_, megatron_index_path(prefix_));
}

}  // namespace ballast::data
