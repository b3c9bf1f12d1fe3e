#include "launch/program.h"

#include <iostream>

#include "launch/exit_code.h"

namespace ballast::launch {

int run_program(int argc, char** argv, int (*run)(const Invocation& invocation, char** argv)) {
  try {
    const Invocation invocation = parse_command_line({argv + 1, argv + argc}, std::cout, std::cerr);
    if (invocation.text.empty()) return run(invocation, argv);
    std::cout << invocation.text;
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
    return static_cast<int>(exit_code_of(error));
  }
}

}  // namespace ballast::launch
