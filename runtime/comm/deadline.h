#pragma once
// What a person reads when a peer did not answer, equal for all backends.
#include <chrono>
#include <span>
#include <string>
#include <string_view>

namespace ballast::comm {

/// The text of the DeadlineError of a wait that passed its deadline. `call` names operation and bytes; `missing` are the ranks
/// of the communicator that have not arrived (collective) or not answered (point-to-point).
std::string deadline_text(std::string_view call, int rank, int size, std::chrono::duration<double> deadline,
                          std::span<const int> missing);

}  // namespace ballast::comm
