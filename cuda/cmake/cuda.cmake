# For devices, with nvcc of CUDA 12 or later.
if(DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(architectures_given ON)
endif()
enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12)
  message(FATAL_ERROR "nvcc ${CMAKE_CUDA_COMPILER_VERSION} is too old: CUDA 12 or later is needed")
endif()
find_package(CUDAToolkit REQUIRED)

# Machine code for these, as far as the compiler knows them; PTX for everything newer. As in build.rs.
if(NOT architectures_given)
  execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --list-gpu-code OUTPUT_VARIABLE known)
  set(CMAKE_CUDA_ARCHITECTURES)
  foreach(arch 80 90a 100 120)
    string(REGEX REPLACE "a$" "" plain ${arch})
    if(known MATCHES "sm_${plain}\n")
      list(APPEND CMAKE_CUDA_ARCHITECTURES ${arch}-real)
    endif()
  endforeach()
  list(APPEND CMAKE_CUDA_ARCHITECTURES 80-virtual)
endif()
set_target_properties(recis_objects PROPERTIES
  CUDA_ARCHITECTURES "${CMAKE_CUDA_ARCHITECTURES}" CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON)
target_compile_options(recis_objects PRIVATE -O3 -lineinfo -Xcompiler=-Wall,-Wextra,${short_paths})

# The library's own runtime: it shares the primary context with any other in the process.
set(objects $<TARGET_OBJECTS:recis_objects>)
set(recis_runtime CUDA::cudart_static)
set(recis_definitions)
set(recis_private_libs "-L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -lstdc++ -lm -lrt -pthread -ldl")
set(recis_cflags)
