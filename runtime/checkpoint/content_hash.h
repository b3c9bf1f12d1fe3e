#pragma once
// The hash that every checkpoint file is known by.
#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

struct XXH3_state_s;

namespace ballast::checkpoint {

/// XXH3-128 of some bytes. Finds accidents, not forgeries.
struct ContentHash {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  auto operator<=>(const ContentHash&) const = default;
};
/// 32 hexadecimal digits, as xxh128sum prints them.
std::string to_text(ContentHash hash);
ContentHash content_hash(std::span<const std::byte> bytes);

/// The same hash of bytes that come in parts.
class StreamingHash {
 public:
  StreamingHash();
  ~StreamingHash();
  StreamingHash(const StreamingHash&) = delete;
  StreamingHash& operator=(const StreamingHash&) = delete;
  void add(std::span<const std::byte> bytes);
  ContentHash value() const;

 private:
  XXH3_state_s* state_;
};

}  // namespace ballast::checkpoint
