#include "runtime/checkpoint/buffer_bytes.h"

#include <fmt/format.h>

#include <limits>
#include <stdexcept>

namespace ballast::checkpoint {
namespace {

std::size_t checked_size(const comm::ConstBuffer& buffer, const std::string& where) {
  if (buffer.device != comm::Device::kHost)
    throw std::invalid_argument(where + ": the buffer lies on a device; copy it to the host first");
  const std::int64_t element = size_in_bytes(element_type(buffer.dtype));
  if (buffer.count < 0 || buffer.count > std::numeric_limits<std::int64_t>::max() / element || (buffer.count > 0 && !buffer.data))
    throw std::invalid_argument(fmt::format("{}: a buffer of {} elements at {}", where, buffer.count, fmt::ptr(buffer.data)));
  return static_cast<std::size_t>(buffer.count * element);
}

}  // namespace

ElementType element_type(comm::Dtype dtype) {
  switch (dtype) {
    case comm::Dtype::kUint8:
      return ElementType::kU8;
    case comm::Dtype::kInt32:
      return ElementType::kI32;
    case comm::Dtype::kInt64:
      return ElementType::kI64;
    case comm::Dtype::kBfloat16:
      return ElementType::kBF16;
    case comm::Dtype::kFloat32:
      return ElementType::kF32;
    case comm::Dtype::kFloat64:
      return ElementType::kF64;
  }
  throw std::invalid_argument(fmt::format("dtype {} is not one of comm::Dtype", static_cast<int>(dtype)));
}

std::span<const std::byte> bytes_of(const comm::ConstBuffer& buffer, const std::string& where) {
  return {static_cast<const std::byte*>(buffer.data), checked_size(buffer, where)};
}

std::span<std::byte> writable_bytes_of(const comm::Buffer& buffer, const std::string& where) {
  return {static_cast<std::byte*>(buffer.data), checked_size(buffer, where)};
}

}  // namespace ballast::checkpoint
