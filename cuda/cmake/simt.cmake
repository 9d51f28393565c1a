# The same sources for the host's C++ compiler; cuda/simt/simt.hpp says what that is.
find_package(Threads REQUIRED)

get_target_property(kernels recis_objects SOURCES)
set_source_files_properties(${kernels} PROPERTIES LANGUAGE CXX)
set(watch)
if(RECIS_SIMT_WATCH AND CMAKE_CXX_COMPILER_ID MATCHES Clang)
  set(watch -fsanitize=thread "SHELL:-mllvm -tsan-distinguish-volatile=1")
elseif(RECIS_SIMT_WATCH)
  set(watch -fsanitize=thread --param=tsan-distinguish-volatile=1 -fno-tree-loop-im -fno-tree-sra)
endif()

# The kernels' loads and stores call simt/races.cpp, which must not call itself.
add_library(recis_simt OBJECT simt/memory.cpp simt/multiply.cpp simt/places.cpp simt/races.cpp
            simt/runtime.cpp)
set_target_properties(recis_simt PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden)
target_include_directories(recis_simt PRIVATE .)
foreach(objects recis_objects recis_simt)
  # Ubuntu's compilers turn on a check that takes a switch of stacks for an error.
  target_compile_options(${objects} PRIVATE -O2 -g1 -Wall -Wextra -Wno-unknown-pragmas -ffp-contract=off
                                            -U_FORTIFY_SOURCE ${short_paths})
  target_compile_definitions(${objects} PRIVATE RECIS_SIMT RECIS_SIMT_LIBRARY)
  if(NOT RECIS_SIMT_WATCH)
    target_compile_definitions(${objects} PRIVATE RECIS_SIMT_UNWATCHED)
  endif()
endforeach()
target_compile_options(recis_objects PRIVATE ${watch})

set(objects $<TARGET_OBJECTS:recis_objects> $<TARGET_OBJECTS:recis_simt>)
set(recis_runtime Threads::Threads)
set(recis_definitions RECIS_SIMT)
set(recis_private_libs "-lstdc++ -lm -pthread")
set(recis_cflags "-DRECIS_SIMT")
