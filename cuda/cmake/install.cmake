# What `cmake --install` puts where.
include(CMakePackageConfigHelpers)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/recis)
install(TARGETS kernels kernels_shared EXPORT recis
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT recis NAMESPACE recis:: FILE recis-targets.cmake DESTINATION ${package})
install(FILES include/recis.h include/recis.hpp include/recis_dlpack.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(RECIS_SIMT)
  install(FILES include/recis_simt.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
endif()

configure_package_config_file(cmake/recis-config.cmake.in recis-config.cmake INSTALL_DESTINATION ${package})
# Before 1.0 a minor version may change the ABI.
write_basic_package_version_file(recis-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/recis-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/recis-config-version.cmake DESTINATION ${package})

file(RELATIVE_PATH recis_include_from_pc
  ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_FULL_INCLUDEDIR})
configure_file(cmake/recis.pc.in recis.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/recis.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
