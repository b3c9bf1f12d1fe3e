#pragma once
// The LibTorch that this process has loaded.
#include <string>

namespace ballast::train {

struct TorchLibrary {
  std::string version;      ///< of the package that holds the library: the file version.py beside it; "unknown" without one
  std::string folder;       ///< of libtorch_cpu; empty when it cannot be located
  std::string capability;   ///< instruction set that its kernels use here: "AVX2", "AVX512", ...
  int num_threads = 0;      ///< of one operation
};

TorchLibrary loaded_torch_library();

}  // namespace ballast::train
