# Language level, warnings and sanitizers that every target of ours uses.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

# -O2: compiling is most of the wait on a small machine; what is hot asks for more itself.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")

option(BALLAST_TORCH "Build what needs LibTorch (kernels, model, training)" ON)
option(BALLAST_CUDA "Build the CUDA kernels and the NCCL communicator" OFF)
option(BALLAST_TESTS "Build the tests" ON)
set(BALLAST_SANITIZE "" CACHE STRING "Sanitizer: empty, address (with undefined) or thread")

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()

add_library(ballast_options INTERFACE)
target_include_directories(ballast_options INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/generated)
target_compile_options(ballast_options INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Werror)
if(BALLAST_SANITIZE)
  # GCC 12 loses track of what is initialised (std::variant, std::optional) once sanitizer calls are in between.
  target_compile_options(ballast_options INTERFACE -Wno-maybe-uninitialized)
endif()
if(BALLAST_SANITIZE STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
  add_link_options(-fsanitize=address,undefined)
elseif(BALLAST_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread)
  add_link_options(-fsanitize=thread)
  # GCC's own warning that fences are not modelled; no code of ours uses one.
  target_compile_options(ballast_options INTERFACE -Wno-tsan)
elseif(BALLAST_SANITIZE)
  message(FATAL_ERROR "BALLAST_SANITIZE is '${BALLAST_SANITIZE}'; choose address or thread, or leave it empty")
endif()
