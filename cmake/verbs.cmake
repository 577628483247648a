# RDMA verbs: the headers are looked for at build time, the libraries are loaded at run time (rdma/src/verbs/verbs_library.h).
# Without the headers rdma/src/verbs_absent/ stands in for the files of rdma/src/verbs/ that need them, and says so when a
# tier is opened.

include(CheckIncludeFileCXX)

function(tiervec_select_verbs sources_var)
  check_include_file_cxx(infiniband/verbs.h TIERVEC_HAVE_VERBS_H)
  check_include_file_cxx(rdma/rdma_cma.h TIERVEC_HAVE_RDMA_CMA_H)
  set(kept ${${sources_var}})
  if(TIERVEC_HAVE_VERBS_H AND TIERVEC_HAVE_RDMA_CMA_H)
    list(FILTER kept EXCLUDE REGEX "/verbs_absent/")
  else()
    message(STATUS "RDMA: not built, infiniband/verbs.h or rdma/rdma_cma.h was not found (apt-get install libibverbs-dev librdmacm-dev)")
    list(FILTER kept EXCLUDE REGEX "/verbs/(rdma|verbs)_[a-z_]*\\.cc$")
  endif()
  set(${sources_var} ${kept} PARENT_SCOPE)
endfunction()
