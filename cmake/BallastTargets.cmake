# ballast_library(name [FOLDERS folder...] [LINK lib...] [ONLY regex] [EXCLUDE regex]): a library of every .cpp file of its folders.
# A new file needs no CMake edit. *_bench.cpp are benchmarks, not part of the library.
function(ballast_library name)
  cmake_parse_arguments(arg "" "ONLY;EXCLUDE" "FOLDERS;LINK" ${ARGN})
  set(sources)
  foreach(folder ${arg_FOLDERS})
    file(GLOB_RECURSE found CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.cpp)
    list(APPEND sources ${found})
  endforeach()
  list(FILTER sources EXCLUDE REGEX "_bench\\.cpp$")
  if(arg_ONLY)
    list(FILTER sources INCLUDE REGEX "${arg_ONLY}")
  endif()
  if(arg_EXCLUDE)
    list(FILTER sources EXCLUDE REGEX "${arg_EXCLUDE}")
  endif()
  if(NOT sources)
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE ballast_options ${arg_LINK})
    return()
  endif()
  add_library(${name} STATIC ${sources})
  target_link_libraries(${name} PUBLIC ballast_options ${arg_LINK})
endfunction()

# All .proto files compile into one torch-free schema library; each schema sits beside its component.
file(GLOB_RECURSE proto_files CONFIGURE_DEPENDS
  ${PROJECT_SOURCE_DIR}/scheduler/*.proto ${PROJECT_SOURCE_DIR}/runtime/*.proto ${PROJECT_SOURCE_DIR}/launch/*.proto)
add_library(ballast_schema STATIC ${proto_files})
target_include_directories(ballast_schema PUBLIC ${PROJECT_BINARY_DIR}/schema)
target_link_libraries(ballast_schema PUBLIC protobuf::libprotobuf)
# PROTOC_OUT_DIR must exist before protoc runs.
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/schema)
protobuf_generate(TARGET ballast_schema LANGUAGE cpp IMPORT_DIRS ${PROJECT_SOURCE_DIR}
  PROTOC_OUT_DIR ${PROJECT_BINARY_DIR}/schema)
# Comments of the schema become the field reference (ballast config docs).
set(schema_descriptor ${PROJECT_BINARY_DIR}/generated/schema.desc)
add_custom_command(OUTPUT ${schema_descriptor}
  COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/generated
  COMMAND protobuf::protoc --include_source_info --include_imports --proto_path=${PROJECT_SOURCE_DIR}
          --descriptor_set_out=${schema_descriptor} ${proto_files}
  DEPENDS ${proto_files} VERBATIM)
add_custom_target(ballast_schema_descriptor DEPENDS ${schema_descriptor})

# Version and commit, read at configure time, which comes again after every commit: results name the program that made them.
execute_process(COMMAND git describe --always --dirty WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
  OUTPUT_VARIABLE BALLAST_COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT BALLAST_COMMIT)
  set(BALLAST_COMMIT unknown)
endif()
execute_process(COMMAND git rev-parse --git-path logs/HEAD WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
  OUTPUT_VARIABLE head_log OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
get_filename_component(head_log "${head_log}" ABSOLUTE BASE_DIR ${PROJECT_SOURCE_DIR})
if(head_log AND EXISTS ${head_log} AND NOT IS_DIRECTORY ${head_log})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${head_log})
endif()
foreach(what MPI TORCH CUDA)
  if(BALLAST_WITH_${what})
    set(BALLAST_${what}_CONSTANT true)
  else()
    set(BALLAST_${what}_CONSTANT false)
  endif()
endforeach()
configure_file(${PROJECT_SOURCE_DIR}/cmake/build_constants.h.in ${PROJECT_BINARY_DIR}/generated/build_constants.h @ONLY)
