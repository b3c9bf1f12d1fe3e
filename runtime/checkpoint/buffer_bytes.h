#pragma once
// A communicator's buffer as a file sees it.
#include <cstddef>
#include <span>
#include <string>

#include "runtime/checkpoint/safetensors.h"
#include "runtime/comm/communicator.h"

namespace ballast::checkpoint {

ElementType element_type(comm::Dtype dtype);
/// Throws: std::invalid_argument beginning with `where` for device memory, a negative count or no address.
std::span<const std::byte> bytes_of(const comm::ConstBuffer& buffer, const std::string& where);
std::span<std::byte> writable_bytes_of(const comm::Buffer& buffer, const std::string& where);

}  // namespace ballast::checkpoint
