# tiervec._core: every file of tiervec/_native, one register_<area>.cc per area.

find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)
if(NOT nanobind_ROOT)
  # scikit-build-core finds nanobind by itself; this is for a plain `cmake` call with nanobind installed by pip.
  execute_process(COMMAND ${Python_EXECUTABLE} -m nanobind --cmake_dir
    OUTPUT_VARIABLE nanobind_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
find_package(nanobind CONFIG REQUIRED)

file(GLOB native_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/tiervec/_native/*.cc)
nanobind_add_module(_core NB_STATIC NOMINSIZE NB_DOMAIN tiervec ${native_sources})
target_link_libraries(_core PRIVATE ${index_targets} tiervec_warnings)
target_compile_definitions(_core PRIVATE
  TIERVEC_VERSION="${PROJECT_VERSION}" TIERVEC_BUILD_TYPE="$<CONFIG>" TIERVEC_SANITIZE="${TIERVEC_SANITIZE}")
# nanobind's headers are not ours to warn about.
target_include_directories(_core SYSTEM PRIVATE ${NB_DIR}/include)

install(TARGETS _core LIBRARY DESTINATION tiervec COMPONENT python)

# The stub is committed as tiervec/_core.pyi; `make stubs` writes it there, `make lint` compares. It is no part of `all`,
# because making it imports the module, which a sanitizer build or a cross build cannot.
add_custom_target(core_stub
  COMMAND ${Python_EXECUTABLE} -m nanobind.stubgen --quiet --import $<TARGET_FILE_DIR:_core> --module _core
          --output-file ${CMAKE_CURRENT_BINARY_DIR}/_core.pyi
  DEPENDS _core VERBATIM)
