#include "launch/schema_descriptor.h"

// The assembler copies the file that protoc wrote; CMake rebuilds this file when it changes.
asm(".section .rodata\n"
    "ballast_schema_descriptor_begin:\n"
    ".incbin \"" BALLAST_SCHEMA_DESCRIPTOR
    "\"\n"
    "ballast_schema_descriptor_end:\n"
    ".previous\n");

extern "C" {
extern const char ballast_schema_descriptor_begin[];
extern const char ballast_schema_descriptor_end[];
}

namespace ballast::launch {

std::string_view schema_descriptor() {
  return {ballast_schema_descriptor_begin,
          static_cast<std::size_t>(ballast_schema_descriptor_end - ballast_schema_descriptor_begin)};
}

}  // namespace ballast::launch
