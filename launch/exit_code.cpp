#include "launch/exit_code.h"

#include <new>
#include <stdexcept>

#include "runtime/comm/communicator.h"
#include "runtime/data/data_error.h"

namespace ballast::launch {

int exit_code_of(const std::exception& error) {
  if (dynamic_cast<const std::invalid_argument*>(&error)) return kUserInput;
  if (dynamic_cast<const comm::CommError*>(&error)) return kLostPeer;
  if (dynamic_cast<const data::DataError*>(&error)) return kData;
  if (dynamic_cast<const std::runtime_error*>(&error)) return kEnvironment;
  if (dynamic_cast<const std::bad_alloc*>(&error)) return kEnvironment;
  return kBug;
}

}  // namespace ballast::launch
