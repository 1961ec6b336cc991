# Two commands do everything: `make demo` runs the shop, `make test` runs every check.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
ONCE   ?=

.PHONY: help venv demo test test-all lint types imports check pytest bench clean

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

venv: $(VENV)/.stamp  ## build the environment (pinned by requirements/lock.txt)

$(VENV)/.stamp: requirements/lock.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Gatepost needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Building the environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "Could not make a virtual environment. On Debian: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements/lock.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

demo: venv  ## run the shop of examples/shop (ONCE=1: run it once, check each step, exit)
	@$(BIN)/gatepost demo $(if $(ONCE),--once)

check: lint types imports  ## lint, types and the law of imports

lint: venv
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: venv
	@$(BIN)/mypy

imports: venv
	@$(BIN)/lint-imports

node_modules/.stamp: package.json package-lock.json
	@command -v npm >/dev/null && npm ci --silent --no-audit --no-fund && touch $@ || echo "npm is missing: the tests that need it will skip and say so"

pytest: venv node_modules/.stamp
	@$(BIN)/python -m pytest

test: check pytest  ## every check: lint, types, imports, unit, conformance, wire, crash, examples

test-all:  ## make test with every Python from 3.11 up that is installed
	@tools/test-all

clean:  ## remove what was built
	rm -rf .venv* node_modules .mypy_cache .ruff_cache .hypothesis
