# labelloop: `make demo` shows the loop, `make test` proves it. Needs Python 3.11 to 3.13 and a package index.

VENV ?= .venv
BIN := $(VENV)/bin
MIN_FREE_GB ?= 16
STAMP := $(VENV)/installed.stamp
# The first interpreter found with a version that fits; PYTHON=/path/to/python3.12 overrides.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for name in python3.12 python3.11 python3.13 python3; do \
	"$$name" -c '$(FITS)' >/dev/null 2>&1 && { echo "$$name"; break; }; done)
YES := 1 y yes true on
flag = $(if $(filter $(YES),$(1)),$(2))

.PHONY: help install demo up check test e2e bench lock
.DEFAULT_GOAL := help

help:
	@echo 'make demo      the whole loop on this machine with sample data (HEADLESS=1 ends by itself, FRESH=1 starts anew)'
	@echo 'make test      install, check, and every test'
	@echo 'make up        the services, against your own Label Studio'
	@echo 'make install | check | e2e | bench | lock'

install: $(STAMP)

# An interpreter that went away leaves a broken environment: it is made again, not repaired.
$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" && "$(PYTHON)" -c '$(FITS)' 2>/dev/null || { echo "labelloop: no Python 3.11, 3.12 or 3.13 found; install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/ruff || test "$$(df -Pk . | awk 'NR == 2 {print int($$4 / 1048576)}')" -ge $(MIN_FREE_GB) || { echo "labelloop: less than $(MIN_FREE_GB) GB free in $$(pwd); free some space, or work on a larger disk" >&2; exit 1; }
	@$(BIN)/python -c '$(FITS)' >/dev/null 2>&1 || { rm -rf $(VENV); "$(PYTHON)" -m venv $(VENV) >/dev/null 2>&1; } || { echo "labelloop: $(PYTHON) cannot make a virtual environment; install its venv module (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "labelloop: installing into $(VENV) (several minutes the first time; log: $(VENV)/install.log)"
	@{ test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8'; } >$(VENV)/install.log 2>&1 || $(call failed)
	@$(uv_install) --compile-bytecode --require-hashes -r requirements.lock >>$(VENV)/install.log 2>&1 || $(call failed)
	@$(uv_install) --no-deps -e . >>$(VENV)/install.log 2>&1 || $(call failed)
	@touch $@

# Compiled once here: else each of the hundreds of processes of the tests compiles what it imports, where the machine's
# settings forbid Python to keep it.
# uv knows nothing of pip's own settings; a machine whose index is set there alone must work too.
uv_install = index="$$($(BIN)/python -m pip config get global.index-url 2>/dev/null || true)"; \
	index="$${UV_DEFAULT_INDEX:-$${UV_INDEX_URL:-$${PIP_INDEX_URL:-$$index}}}"; \
	if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
	$(BIN)/uv pip install --quiet --python $(BIN)/python
define failed
{ if grep -qiE 'dns|resolve host|name resolution|name or service|error sending request|failed to connect|connection (refused|reset|broken)|network is unreachable|no matching distribution found for uv|timed out' $(VENV)/install.log; then echo "labelloop: the package index cannot be reached; check the network, or set PIP_INDEX_URL to an index that can be ($(VENV)/install.log)" >&2; elif grep -qi 'no space left' $(VENV)/install.log; then echo "labelloop: the disk is full; free $(MIN_FREE_GB) GB and run the same command again" >&2; else echo "labelloop: the installation failed: $$(grep -v '^ *$$' $(VENV)/install.log | tail -n 1) (all of it: $(VENV)/install.log)" >&2; fi; exit 1; }
endef

demo: install
	@$(BIN)/labelloop demo $(call flag,$(HEADLESS),--headless) $(call flag,$(FRESH),--fresh)

up: install
	@$(BIN)/labelloop up

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/unit/test_structure.py

test: check
	$(BIN)/pytest

e2e: install
	$(BIN)/pytest -m e2e

# Each benchmark runs its peer in the same run and prints one JSON object.
bench: install
	@set -e; for file in benchmarks/[a-z]*.py; do \
		test -f "$$file" || { echo 'labelloop: no benchmarks in benchmarks/' >&2; exit 1; }; \
		$(BIN)/python -m "benchmarks.$$(basename "$$file" .py)" --json; done

# Exact versions for every platform and Python, with hashes and without addresses.
lock: install
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --no-emit-index-url --extra dev --python-version 3.11 pyproject.toml -o requirements.lock
