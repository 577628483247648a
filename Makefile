# TierVec from a fresh machine: `make demo` or `make test`. Everything goes into .venv and build/; no root.
# `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILD := build/editable
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
# make's own default for CXX is not a choice of the user's, and an empty one would stop what pip compiles.
ifeq ($(origin CXX),default)
  CXX :=
  unexport CXX
else
  export CXX
endif
# One line, run by every recipe that compiles. The compiler of an existing build directory stays.
CHOOSE_CXX = CXX=$$(CXX="$(CXX)" cmake/choose_compiler.sh) && export CXX
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
WITH_TOOLS := PATH="$(CURDIR)/$(BIN):$$PATH"

NATIVE_DIRS := $(wildcard tiervec/core tiervec/engine tiervec/_native rdma/src rdma/include graph_index/src graph_index/include \
                          cluster_index/src cluster_index/include)
# Folders too: a file that goes away changes only its folder.
NATIVE := $(shell find $(NATIVE_DIRS) -type d -o -name '*.cc' -o -name '*.h')
CMAKE_FILES := CMakeLists.txt $(wildcard cmake/*.cmake)
CXX_FILES = $(shell find $(NATIVE_DIRS) tests -name '*.cc' -o -name '*.h')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test cxx-tests test-cxx test-python guest peers lint quick-lint check-format types check-stubs check-headers \
        format stubs core-stub tidy asan tsan bench wheel wheel-check portability clean distclean FORCE

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- setting up ----------------------------------------------------------------------------------------------------------
$(VENV)/.stamp-venv:
	@cmake/check_python.sh $(PYTHON)
	@cmake/choose_compiler.sh >/dev/null
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install 'pip>=24'
	@touch $@

$(VENV)/.stamp-build: $(VENV)/.stamp-venv pyproject.toml
	@echo "installing build tools into $(VENV)"
	@$(BIN)/python .ci/requirements.py build > $@.txt && $(PIP) install -r $@.txt && touch $@

# An editable install finds new modules by itself, but not a new package: it is repeated when the list of packages changes.
$(VENV)/.packages: FORCE | $(VENV)/.stamp-venv
	@find tiervec graph_index cluster_index rdma bench -name __init__.py | sort > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

# The extension is compiled in a directory that stays, so that a second build compiles only what changed.
$(BUILD)/.stamp-install: $(VENV)/.stamp-build pyproject.toml $(CMAKE_FILES) $(NATIVE) $(VENV)/.packages
	@echo "building and installing tiervec (editable)"
	@$(CHOOSE_CXX) && $(WITH_TOOLS) $(PIP) install --no-build-isolation --config-settings=build-dir=$(BUILD) --editable .
	@touch $@

$(VENV)/.stamp-test $(VENV)/.stamp-lint $(VENV)/.stamp-bench $(VENV)/.stamp-wheel: $(VENV)/.stamp-%: $(VENV)/.stamp-build pyproject.toml
	@echo "installing what '$*' needs into $(VENV)"
	@$(BIN)/python .ci/requirements.py $* > $@.txt && $(PIP) install -r $@.txt && touch $@

install: $(BUILD)/.stamp-install ## build the extension and install tiervec into .venv (editable)

# ---- running -------------------------------------------------------------------------------------------------------------
demo: install ## build an index of the sample, serve it, ask ten questions
	@$(BIN)/python -m tiervec.demo

test: test-cxx test-python guest ## all tests: C++, Python, and in a guest those that need devices

cxx-tests: install
	@$(WITH_TOOLS) cmake -S . -B $(BUILD) -DTIERVEC_TESTS=ON >$(BUILD)/configure.log || { cat $(BUILD)/configure.log; exit 1; }
	@if grep -q '^TIERVEC_CXX_TESTS:INTERNAL=ON' $(BUILD)/CMakeCache.txt; then $(WITH_TOOLS) cmake --build $(BUILD) -j $(JOBS); fi

test-cxx: cxx-tests
	@if grep -q '^TIERVEC_CXX_TESTS:INTERNAL=ON' $(BUILD)/CMakeCache.txt; then \
	  $(WITH_TOOLS) ctest --test-dir $(BUILD) --output-on-failure --no-tests=error -j $(JOBS); \
	else \
	  echo "C++ tests: not built, GoogleTest was not found (apt-get install libgtest-dev)"; \
	fi

# One process per core; `PYTEST_ARGS="-n 0 ..."` runs in one, as a debugger needs it.
test-python: install $(VENV)/.stamp-test
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

guest: cxx-tests $(VENV)/.stamp-test ## tests on RDMA, a memory-only NUMA node and /dev/dax, in a QEMU guest
	@tests/guest/run.sh $(BUILD)/tests

peers: install $(VENV)/.stamp-test $(VENV)/.stamp-bench ## tests on hnswlib, and on DiskANN in an environment of its own
	@$(BIN)/tiervec bench setup diskannpy-disk --cache build/peers || echo "peers: DiskANN could not be installed"
	@TIERVEC_CACHE=build/peers $(BIN)/python -m pytest tests/integration/test_peers.py tests/bench/systems

bench: install $(VENV)/.stamp-bench ## the benchmark behind the figures of the README
	@$(BIN)/python -m tiervec.bench.graph_figures $(BENCH_ARGS)

# ---- checking ------------------------------------------------------------------------------------------------------------
lint: quick-lint ## formats, types, dependencies, stub, headers, clang-tidy (TIDY_SINCE=main: of what changed since then)
	@$(MAKE) --no-print-directory -j $(JOBS) tidy

quick-lint: check-format types check-stubs check-headers

check-format: $(VENV)/.stamp-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo "clang-format, $(words $(CXX_FILES)) files" && $(BIN)/clang-format --dry-run -Werror $(CXX_FILES)

types: $(BUILD)/.stamp-install $(VENV)/.stamp-lint $(VENV)/.stamp-test
	@$(BIN)/python .ci/package_tree.py build/package
	cd build/package && MYPYPATH=. ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../mypy -p tiervec
	$(BIN)/python .ci/check_imports.py build/package build/import_linter

check-stubs: core-stub
	@diff -u tiervec/_core.pyi $(BUILD)/_core.pyi || { echo "tiervec/_core.pyi is out of date: make stubs" >&2; exit 1; }

check-headers: install
	@echo "compiling every public header alone" && $(WITH_TOOLS) cmake --build $(BUILD) --target check_headers -j $(JOBS)

format: $(VENV)/.stamp-lint ## rewrite sources in the house format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

core-stub: install
	@$(WITH_TOOLS) cmake --build $(BUILD) --target core_stub -j $(JOBS) >/dev/null

stubs: core-stub ## write tiervec/_core.pyi from the built extension
	cp $(BUILD)/_core.pyi tiervec/_core.pyi

# A stamp per file: a file is looked at again when it or any header changed.
HEADERS := $(filter %.h,$(NATIVE))
TIDY := $(patsubst %,build/tidy/%.ok,$(filter %.cc,$(NATIVE)))
ifneq ($(TIDY_SINCE),)
  CHANGED := $(shell .ci/changed_sources $(TIDY_SINCE))
  ifneq ($(.SHELLSTATUS),0)
    $(error TIDY_SINCE=$(TIDY_SINCE) names no commit of this clone)
  endif
  TIDY := $(filter $(CHANGED:%=build/tidy/%.ok),$(TIDY))
endif

tidy: $(TIDY) ## clang-tidy over our sources
	@echo "clang-tidy: $(words $(TIDY)) files$(if $(TIDY_SINCE), that $(TIDY_SINCE) did not have like this)"

build/tidy/%.ok: % $(HEADERS) .clang-tidy $(BUILD)/.stamp-install $(VENV)/.stamp-lint
	@mkdir -p $(dir $@)
	@$(BIN)/clang-tidy --quiet -p $(BUILD) --warnings-as-errors='*' --extra-arg=-Wno-unknown-warning-option $< && touch $@

asan tsan: %: $(VENV)/.stamp-build ## C++ tests under sanitizers (asan: addresses and undefined behaviour; tsan: what has threads)
	@$(CHOOSE_CXX) && $(WITH_TOOLS) cmake --preset $@ >/dev/null
	@if grep -q '^TIERVEC_CXX_TESTS:INTERNAL=ON' build/$@/CMakeCache.txt; then \
	  $(WITH_TOOLS) cmake --build --preset $@ -j $(JOBS) && $(WITH_TOOLS) ctest --preset $@ -j $(JOBS); \
	else \
	  echo "error: make $@ runs the C++ tests, and GoogleTest was not found: apt-get install libgtest-dev" >&2; exit 1; \
	fi

wheel: $(VENV)/.stamp-build $(VENV)/.stamp-wheel ## a wheel in dist/, for manylinux_2_36 or older
	@rm -rf build/wheel dist
	@$(CHOOSE_CXX) && $(WITH_TOOLS) $(PIP) wheel --no-build-isolation --no-deps --wheel-dir build/wheel .
	@$(WITH_TOOLS) $(BIN)/auditwheel repair --wheel-dir dist build/wheel/*.whl && ls dist/*.whl

wheel-check: wheel ## the wheel in a bare environment without a compiler passes the README's first example
	@tests/portability/check_wheel.sh $(BIN)/python

portability: ## g++ 12, a current g++, clang, static libstdc++, Pythons (LEGS="clang static": some; PORTABILITY=required: all)
	@JOBS=$(JOBS) PYTHON=$(PYTHON) tests/portability/run.sh $(LEGS)

clean: ## remove what was built
	rm -rf build dist

distclean: clean ## remove .venv too
	rm -rf $(VENV)
