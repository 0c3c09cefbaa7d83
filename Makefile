# The ways into zkembed. `make help` lists them.
#
# Needs git, make and Python 3.11 or newer, nothing else. Everything is installed into $(VENV); what has been installed
# is remembered in .make/, so that a second run starts at once.

VENV ?= .venv
ARGS ?=
SEEDS ?= 200
FIRST ?= 0
NODES ?= 3
JOBS ?= 1
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

BIN := $(VENV)/bin
# One folder of stamps for each environment: `make test VENV=.venv-newest` shares nothing with `make test`.
STAMPS := .make/$(notdir $(VENV))
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
CHECKED := src tests examples benchmarks

# Candidates in this order; a command that exists and does not run (a version manager's shim) is passed over.
PYTHONS := python3 python3.11 python3.12 python3.13 python3.14 python3.15 python
ifneq ($(origin PYTHON),undefined)
PYTHON_CHOSEN := yes
endif
PYTHON ?= $(shell for p in $(PYTHONS); do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$p; break; fi; done)

.PHONY: fuzz help demo test chaos simulate mutants lint bench clean force

help: ## List these commands
	@echo "usage: make COMMAND [ARGS=\"...\"] [PYTHON=python3.13] [VENV=.venv]"
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

demo: $(STAMPS)/demo ## Three processes, one of them killed half way: examples/worker_pool.py
	@$(BIN)/python examples/worker_pool.py $(ARGS)

test: $(STAMPS)/test ## The test suite (ARGS: for pytest)
	@$(BIN)/python -m pytest $(ARGS)

chaos: $(STAMPS)/test ## Faults against real processes (ARGS="--seconds 120 --seed 7 --members 3", or --help)
	@$(BIN)/python -m tests.chaos $(ARGS)

lint: $(STAMPS)/lint ## ruff, mypy --strict, the tests of layers, public names and docs
	@echo "lint: ruff check" && $(BIN)/ruff check $(CHECKED)
	@echo "lint: ruff format --check" && $(BIN)/ruff format --check $(CHECKED)
	@echo "lint: mypy" && $(BIN)/mypy
	@echo "lint: layers, exports, docs" && $(BIN)/python -m pytest -q tests/test_layers.py tests/test_exports.py tests/test_docs.py

simulate: $(STAMPS)/test ## Ensembles from seeds, under faults and in judgement (SEEDS=2000 FIRST=0 NODES=3 JOBS=2, ARGS=--help)
	@$(BIN)/python -m zkembed.testing.simulate --seeds $(SEEDS) --first $(FIRST) --nodes $(NODES) --jobs $(JOBS) $(ARGS)

fuzz: $(STAMPS)/test ## Spoilt frames, snapshots and data directories for long (SEED=20 ITERATIONS=20000)
	@FUZZ_SEED=$(or $(SEED),20) FUZZ_ITERATIONS=$(or $(ITERATIONS),20000) $(BIN)/python -m pytest tests/fuzz -q -s --timeout=86400 $(ARGS)

mutants: $(STAMPS)/test ## Break the code on purpose, let the simulator notice, and write docs/mutants.md (ARGS: names)
	@$(BIN)/python -m tests.mutants.table $(ARGS)

bench: $(STAMPS)/test ## The benchmark: one JSON line for each figure
	@$(BIN)/python benchmarks/run.py $(ARGS)

clean: ## Remove environments, stamps, caches and the demo's data
	@rm -rf .venv .venv-* $(VENV) .make var build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# --- installation ----------------------------------------------------------------------------------------------------

# Which interpreter was asked for. Changes only when another one is named, and then the environment is made anew.
$(STAMPS)/python: force
	@mkdir -p $(STAMPS)
	@if [ ! -f $@ ] || { [ -n "$(PYTHON_CHOSEN)" ] && [ "$$(cat $@)" != "$(PYTHON)" ]; }; then echo "$(PYTHON)" > $@; fi

# Not $(BIN)/python: that is a link, and carries the time of the system's interpreter.
$(VENV)/pyvenv.cfg: $(STAMPS)/python
	@if [ -z "$(PYTHON)" ]; then \
		echo "zkembed needs Python 3.11 or newer; found: $$(python3 --version 2>&1 || echo no python3 at all)." >&2; \
		echo "Install one (Debian, Ubuntu: apt install python3 python3-venv), or name it: make PYTHON=/path/to/python3.13" >&2; \
		exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "zkembed needs Python 3.11 or newer; PYTHON=$(PYTHON) is not that: $$($(PYTHON) --version 2>&1)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: its modules venv and ensurepip are missing." >&2; \
		echo "Debian and Ubuntu keep them in a package of their own: apt install python3-venv" >&2; exit 1; }
	@echo "$(PYTHON)" > $(STAMPS)/python
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@rm -rf $(VENV) && $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# An environment serves one extra after the other; each is installed once for each state of pyproject.toml.
$(STAMPS)/demo: EXTRAS := demo
$(STAMPS)/test: EXTRAS := demo,test
$(STAMPS)/lint: EXTRAS := demo,test,lint
$(STAMPS)/demo $(STAMPS)/test $(STAMPS)/lint: $(VENV)/pyvenv.cfg pyproject.toml
	@echo "installing zkembed[$(EXTRAS)] into $(VENV)"
	@$(PIP) install --editable ".[$(EXTRAS)]" || { \
		echo "pip could not install the dependencies; is a package index reachable (PIP_INDEX_URL, proxy)?" >&2; exit 1; }
	@touch $@
