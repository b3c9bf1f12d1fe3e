#include "runtime/comm/deadline.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ballast::comm {

std::string deadline_text(std::string_view call, int rank, int size, std::chrono::duration<double> deadline,
                          std::span<const int> missing) {
  return fmt::format(
      "{} on rank {} of {}: no answer from rank{} {} within {} s. A rank that is stopped, dead or at another operation does not "
      "answer; if it is only slow, raise parallel.deadline_seconds",
      call, rank, size, missing.size() == 1 ? "" : "s", fmt::join(missing, ", "), deadline.count());
}

}  // namespace ballast::comm
