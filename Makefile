# SPDX-License-Identifier: Apache-2.0
# Every target sets up what it needs: a virtual environment in .venv with the versions of constraints.txt.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
WORKERS ?= 2
# Options of `onespike bench`, such as --synth --mnist DIR --cifar10 DIR --resnet20 FILE.npz.
BENCH ?=

# Options of `python -m onespike.sim.campaign`, such as --networks 1000 or --executor dask://host:port.
CAMPAIGN ?= --executor local:$(WORKERS)

# Readers and options of `make fuzz`, such as onnx nir --seconds 600.
FUZZ ?=

# Options of `python -m onespike.sim.mutants`, such as --only hw/engine/fetch.py, --more 5 or --seed 2.
MUTANTS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint bench rivals results registers area campaign fuzz faults proofs mutants manual \
  clean distclean tools

help:
	@echo "make demo       train, convert, generate, simulate and report on real digits (3 minutes)"
	@echo "make test       ruff, mypy and the test suite (15 minutes, installation included)"
	@echo "make test-slow  the tests that take longer than a minute"
	@echo "make lint       ruff and mypy alone"
	@echo "make bench      the engine beside its rivals on several networks, and the speed of the tools (5 minutes)"
	@echo "make rivals     the engine with multipliers in its lanes, zero-skipping and dense, placed and routed (30 minutes)"
	@echo "make results    run the demo and bench, and write their figures into README.md; BENCH=\"--synth ..\" says how"
	@echo "make registers  regenerate docs/registers.md and the C header from the register map"
	@echo "make manual     the manual, as web pages in build/manual (half a minute)"
	@echo "make area       fit the area estimate to synthesis again (15 minutes; build/area keeps what is done)"
	@echo "make campaign   10,000 random networks through RTL (hours; build/campaign keeps what is done), then make fuzz"
	@echo "make fuzz       an hour of damaged files and lines for everything that reads them; FUZZ=\"READER --seconds N\""
	@echo "make proofs     all formal proofs of the hardware, and the mistakes that each must find (2 minutes)"
	@echo "make faults     7,000 flipped bits in a network that runs (half an hour; build/faults keeps what is done)"
	@echo "make mutants    hundreds of faults in hardware and model, one at a time, and whether a test notices (an hour)"
	@echo "make clean      remove build/ and caches; make distclean removes .venv too"

demo: $(STAMP)
	$(BIN)/onespike demo

test: lint
	$(BIN)/pytest -n $(WORKERS) -m "not slow"

test-slow: $(STAMP)
	$(BIN)/pytest -n $(WORKERS) -m slow

# mypy and import-linter cannot follow setuptools' package-dir mapping: show them the package as a user sees it.
lint: $(STAMP)
	$(BIN)/ruff check .
	@rm -rf build/types && mkdir -p build/types/onespike
	@ln -s $(addprefix $(CURDIR)/,hw model sim fpga) $(filter-out %/__pycache__,$(wildcard $(CURDIR)/onespike/*)) \
	  build/types/onespike/
	MYPYPATH=build/types $(BIN)/mypy -p onespike
	cd build/types && $(CURDIR)/$(BIN)/lint-imports --no-cache --no-logo $(CURDIR)/pyproject.toml

# The whole comparison from nothing; what has been placed is kept in build/bench.
rivals: $(STAMP)
	$(BIN)/onespike bench --rivals --images 16 $(BENCH) --json build/rivals.json

bench: $(STAMP)
	$(BIN)/onespike bench $(BENCH)

results: $(STAMP)
	$(BIN)/onespike demo
	$(BIN)/onespike bench $(BENCH) --json build/bench.json
	$(BIN)/python -m onespike.readme README.md build/demo/summary.json build/bench.json

registers: $(STAMP)
	$(BIN)/python -m onespike.hw.fronts.registers

manual: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/manual/index.html"

area: $(STAMP)
	$(BIN)/python -m onespike.fpga.fit_area --workers $(WORKERS)

campaign: $(STAMP)
	$(BIN)/python -m onespike.sim.campaign $(CAMPAIGN)
	$(MAKE) fuzz

# Atheris, whose coverage guides the search, is fetched the first time; without it, inputs come by chance.
fuzz: $(STAMP)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || \
	  $(BIN)/pip-onespike install -q --disable-pip-version-check -c constraints.txt atheris || true
	PYTHONPATH=tests/support $(BIN)/python -m fuzz $(FUZZ)

proofs: $(STAMP)
	$(BIN)/pytest -n $(WORKERS) $(wildcard tests/sim/test_formal.py tests/sim/test_*_rules.py tests/sim/test_proof_*.py)

faults: $(STAMP)
	$(BIN)/python -m onespike.bench.faults --executor local:$(WORKERS) --json build/faults/figures.json

mutants: $(STAMP)
	$(BIN)/python -m onespike.sim.mutants $(MUTANTS)

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path "./.venv/*" -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv *.egg-info

tools:
	@command -v $(PYTHON) >/dev/null || { echo "OneSpike needs Python 3.11 or newer: apt-get install python3" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "OneSpike needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V). Name another with make PYTHON=..." >&2; exit 2; }
	@command -v c++ >/dev/null || command -v g++ >/dev/null || { \
	  echo "The simulator needs a C++ compiler: apt-get install g++" >&2; exit 2; }
	@command -v perl >/dev/null || { echo "Verilator needs perl: apt-get install perl" >&2; exit 2; }

# Remade whenever the pinned versions or the dependencies change. Where Python comes without ensurepip (Debian without
# python3-venv), the system's pip fills the environment. The CPU build of torch is preferred where its host can be
# reached: the one on PyPI brings gigabytes of CUDA.
$(STAMP): constraints.txt pyproject.toml | tools
	rm -rf .venv
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
	  $(PYTHON) -m venv .venv && ln -sf pip .venv/bin/pip-onespike; \
	elif $(PYTHON) -m pip --version >/dev/null 2>&1; then \
	  $(PYTHON) -m venv --without-pip .venv && \
	  printf '#!/bin/sh\nexec $(PYTHON) -m pip --python .venv/bin/python "$$@"\n' > .venv/bin/pip-onespike && \
	  chmod +x .venv/bin/pip-onespike; \
	else echo "Python's venv is incomplete: apt-get install python3-venv" >&2; exit 2; fi
	$(BIN)/pip-onespike install -q --disable-pip-version-check -c constraints.txt setuptools wheel
	@if $(BIN)/python -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1] + "/torch/", timeout=5)' \
	    $(TORCH_INDEX) 2>/dev/null; then \
	  $(BIN)/pip-onespike install -q --disable-pip-version-check --no-deps -c constraints.txt \
	    --index-url $(TORCH_INDEX) torch || echo "No CPU build of torch there; taking the default one." >&2; fi
	$(BIN)/pip-onespike install -q --disable-pip-version-check --no-build-isolation -c constraints.txt \
	  -e ".[torch,onnx,tflite,nir,sim,synth,demo,test]"
	@test -n "$$($(BIN)/python -m find_libpython)" || { \
	  echo "cocotb needs Python's shared library: apt-get install libpython3-dev" >&2; exit 2; }
	@touch $@
