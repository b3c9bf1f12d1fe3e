#pragma once
// What is thrown when data is missing or damaged (as opposed to a wrong request, which is std::invalid_argument).
#include <stdexcept>

namespace ballast::data {

/// A file or folder of the corpus is missing, unreadable or damaged. The text names the file and the place in it.
class DataError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace ballast::data
