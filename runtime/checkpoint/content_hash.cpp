#include "runtime/checkpoint/content_hash.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <new>

namespace ballast::checkpoint {

std::string to_text(ContentHash hash) { return fmt::format("{:016x}{:016x}", hash.high, hash.low); }

ContentHash content_hash(std::span<const std::byte> bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return {hash.high64, hash.low64};
}

StreamingHash::StreamingHash() : state_(XXH3_createState()) {
  if (!state_) throw std::bad_alloc();
  XXH3_128bits_reset(state_);
}

StreamingHash::~StreamingHash() { XXH3_freeState(state_); }

void StreamingHash::add(std::span<const std::byte> bytes) {
  if (!bytes.empty()) XXH3_128bits_update(state_, bytes.data(), bytes.size());
}

ContentHash StreamingHash::value() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_);
  return {hash.high64, hash.low64};
}

}  // namespace ballast::checkpoint
