#include "runtime/train/torch_library.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <dlfcn.h>

#include <filesystem>
#include <fstream>

namespace ballast::train {

TorchLibrary loaded_torch_library() {
  TorchLibrary library{
      .version = "unknown", .folder = {}, .capability = at::get_cpu_capability(), .num_threads = at::get_num_threads()};
  Dl_info location{};
  if (dladdr(reinterpret_cast<const void*>(&at::show_config), &location) == 0) return library;
  const std::filesystem::path folder = std::filesystem::path(location.dli_fname).parent_path();
  library.folder = folder.string();
  std::ifstream lines(folder.parent_path() / "version.py");
  for (std::string line; std::getline(lines, line);) {
    const std::size_t begin = line.find('\'');
    if (line.starts_with("__version__") && begin != line.npos)
      library.version = line.substr(begin + 1, line.rfind('\'') - begin - 1);
  }
  return library;
}

}  // namespace ballast::train
