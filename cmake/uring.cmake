# io_uring: liburing is looked for at build time and linked, statically where its archive is there (liburing-dev), so that a
# build runs where the library is not installed. Without it rdma/src/uring_absent/ stands in for rdma/src/ssd/uring_reader.cc,
# and the tier ssd: reads by threads and says so.

include(CheckCXXSymbolExists)

function(tiervec_select_uring sources_var library_var)
  check_cxx_symbol_exists(IORING_SETUP_COOP_TASKRUN liburing.h TIERVEC_HAVE_LIBURING_22)
  find_library(TIERVEC_LIBURING NAMES liburing.a uring)
  set(kept ${${sources_var}})
  if(TIERVEC_HAVE_LIBURING_22 AND TIERVEC_LIBURING)
    list(FILTER kept EXCLUDE REGEX "/uring_absent/")
    set(${library_var} ${TIERVEC_LIBURING} PARENT_SCOPE)
  else()
    message(STATUS "io_uring: not built, liburing 2.2 or newer was not found (apt-get install liburing-dev)")
    list(FILTER kept EXCLUDE REGEX "/ssd/uring_reader\\.cc$")
    set(${library_var} "" PARENT_SCOPE)
  endif()
  set(${sources_var} ${kept} PARENT_SCOPE)
endfunction()
