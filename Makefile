# From a bare clone: `make demo` shows it, `make test` proves it.
# Needs Python 3.11 or later with pip, and make; another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Bytecode is kept, or each of the hundreds of processes that the tests start would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo picture bench test test-all lint format types docs clean

help:  ## list what there is
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' Makefile | expand -t 12

demo: $(VENV)/cli.stamp  ## the main job on real orders, against local receivers of four vendors; ALL=1: of twelve
	@$(BIN)/unitrack demo $(if $(ALL),--all)

picture: $(VENV)/cli.stamp  ## draw the end of a demo run anew, docs/demo.svg
	$(BIN)/python docs/demo_picture.py

# Four at once, also on two cores: half of the tests wait for sockets and processes most of the time.
test: lint types  ## everything but the slow tests
	$(BIN)/pytest -q -n 4 --dist worksteal -m "not slow"

test-all: lint types  ## the slow tests too
	$(BIN)/pytest -q -n 4 --dist worksteal

lint: $(VENV)/dev.stamp  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/dev.stamp  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/dev.stamp  ## mypy --strict
	$(BIN)/mypy

bench: $(VENV)/made.stamp  ## every bar with its figure, docs/performance.md; an hour, QUICK=1: ten minutes
	$(BIN)/python -m benchmarks.speed.run $(if $(QUICK),--quick) --out docs/performance.md

docs: $(VENV)/dev.stamp  ## run every example in the documents and check every link
	$(BIN)/pytest -q tests/test_docs.py

clean:  ## remove everything that was made here
	rm -rf $(VENV) .nox .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find unitrack tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

# A new pyproject.toml makes a new environment, so that a dependency which was removed is really gone.
# Some systems ship Python without ensurepip; then the pip beside $(PYTHON) brings one in.
$(VENV)/made.stamp: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'unitrack needs Python 3.11 or later; name one: make $(MAKECMDGOALS) PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) >/dev/null 2>&1 || \
	  { $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }
	@touch $@

$(VENV)/cli.stamp: $(VENV)/made.stamp
	$(PIP) -e '.[cli]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/made.stamp
	$(PIP) -e '.[cli,dev]'
	@touch $@ $(VENV)/cli.stamp
