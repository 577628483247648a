# Compiler settings shared by every target: standard, warnings, sanitizers, compiler cache.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, RelWithDebInfo or Debug" FORCE)
endif()

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 12)
  message(FATAL_ERROR "g++ ${CMAKE_CXX_COMPILER_VERSION} is too old: TierVec needs g++ 12 or newer (C++20 coroutines)")
endif()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND CMAKE_SIZEOF_VOID_P EQUAL 8)
  set(TIERVEC_X86 ON)
else()
  set(TIERVEC_X86 OFF)
endif()

if(NOT CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(TIERVEC_CCACHE ccache)
  mark_as_advanced(TIERVEC_CCACHE)
  if(TIERVEC_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${TIERVEC_CCACHE})
  endif()
endif()

find_package(Threads REQUIRED)

# What every target needs to agree on.
add_library(tiervec_settings INTERFACE)
target_link_libraries(tiervec_settings INTERFACE Threads::Threads)
if(TIERVEC_X86)
  target_compile_definitions(tiervec_settings INTERFACE TIERVEC_X86=1)
endif()
if(TIERVEC_ASSERTIONS)
  target_compile_options(tiervec_settings INTERFACE -UNDEBUG)
  target_compile_definitions(tiervec_settings INTERFACE _GLIBCXX_ASSERTIONS)
endif()
if(TIERVEC_SANITIZE)
  string(REPLACE ";" "," sanitizers "${TIERVEC_SANITIZE}")
  target_compile_options(tiervec_settings INTERFACE -fsanitize=${sanitizers} -fno-omit-frame-pointer -g1)
  target_link_options(tiervec_settings INTERFACE -fsanitize=${sanitizers})
  if("undefined" IN_LIST TIERVEC_SANITIZE)
    target_compile_options(tiervec_settings INTERFACE -fno-sanitize-recover=undefined)
  endif()
endif()

# Warnings are for our own sources only, so they are linked privately. -Wconversion is left out: the kernels narrow on purpose
# in almost every line, and the casts would hide what they compute.
add_library(tiervec_warnings INTERFACE)
target_compile_options(tiervec_warnings INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-qual -Wdouble-promotion -Wvla)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # g++ 12 sees overlapping copies in libstdc++'s own operator+ of strings (GCC bug 105651).
  target_compile_options(tiervec_warnings INTERFACE -Wno-restrict)
endif()
if(TIERVEC_WERROR)
  target_compile_options(tiervec_warnings INTERFACE -Werror)
endif()
