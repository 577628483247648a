# An area is a static library made of every source below one folder, plus its public headers.
#
#   tiervec_add_area(<target> INCLUDE <dir> SOURCES <file>... DEPENDS <target>...)
#
# Without sources the target is an INTERFACE library, so that the targets above it link the same way. The include directories
# of the areas below are all an area can see: that is how the one-way order of dependencies is kept.

set(TIERVEC_AVX512_FLAGS -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx2 -mfma -mf16c -mbmi2)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 14)
  # g++ 12 and 13 take _mm512_undefined_* of its own header for a mistake (GCC bug 105593); these files only.
  list(APPEND TIERVEC_AVX512_FLAGS -Wno-uninitialized -Wno-maybe-uninitialized)
endif()
set(TIERVEC_AVX2_FLAGS -mavx2 -mfma -mf16c -mbmi2)

# Kernels live in files named after the instructions they need; only those files are compiled with them, so the wheel runs on
# any machine and picks at run time. Elsewhere than x86-64 they are left out and TIERVEC_X86 is not defined.
function(tiervec_select_kernels sources_var)
  set(kept ${${sources_var}})
  if(TIERVEC_X86)
    foreach(source IN LISTS kept)
      if(source MATCHES "_avx512\\.cc$")
        set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${TIERVEC_AVX512_FLAGS}")
      elseif(source MATCHES "_avx2\\.cc$")
        set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${TIERVEC_AVX2_FLAGS}")
      endif()
    endforeach()
  else()
    list(FILTER kept EXCLUDE REGEX "_avx(2|512)\\.cc$")
  endif()
  set(${sources_var} ${kept} PARENT_SCOPE)
endfunction()

function(tiervec_add_area target)
  cmake_parse_arguments(PARSE_ARGV 1 AREA "" "INCLUDE" "SOURCES;DEPENDS")
  tiervec_select_kernels(AREA_SOURCES)
  if(AREA_SOURCES)
    add_library(${target} STATIC ${AREA_SOURCES})
    set(scope PUBLIC)
    target_link_libraries(${target} PRIVATE tiervec_warnings)
  else()
    add_library(${target} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(${target} ${scope} ${AREA_INCLUDE})
  target_link_libraries(${target} ${scope} tiervec_settings ${AREA_DEPENDS})
endfunction()
