# `make help` lists the targets. Each makes the environment first: a fresh machine needs python3 (3.11 or later) and make.

PYTHON ?= python3
PY := .venv/bin/python
STAMP := .venv/.synced
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: demo test crash bench check fmt clean help

$(STAMP): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: set PYTHON=python3.12 or the like.")'
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@test -x .venv/bin/uv || $(PY) -m pip install --quiet --disable-pip-version-check uv
	@VIRTUAL_ENV=$(CURDIR)/.venv UV_PROJECT_ENVIRONMENT=$(CURDIR)/.venv .venv/bin/uv sync --quiet --frozen --all-extras
	@touch $@

demo: $(STAMP) ## Start everything on this machine and play a story through it (Ctrl-C stops it)
	@$(PY) -m codespar.launcher.demo $(ARGS)

test: $(STAMP) ## Run the tests on two workers; ARGS="-k name" goes to pytest
	@$(PY) -m pytest -n 2 --dist worksteal $(ARGS)

crash: export CODESPAR_TEST_FAULTS ?= 1000
crash: export CODESPAR_TEST_RAIL_FAULTS ?= 2000
crash: $(STAMP) ## Kill and pause everything 1,000 times, break each rail's requests 2,000 times, and judge what is left
	@$(PY) -m pytest -s $(ARGS) tests/crash

bench: $(STAMP) ## Measure a payment beside its floors, some 15 minutes; ARGS="--quick" takes two
	@$(PY) -m bench $(ARGS)

check: $(STAMP) ## Format, lint, types, imports, migrations, documents
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy codespar wallets mandates ledger rails bench
	.venv/bin/lint-imports
	$(PY) -m codespar.checks

fmt: $(STAMP) ## Format the code and fix what the linter can fix
	.venv/bin/ruff format
	.venv/bin/ruff check --fix

clean: ## Stop what runs and delete the state of demo and tests, and all caches
	@test ! -x $(PY) || test ! -d codespar/launcher || $(PY) -m codespar.launcher.stop --remove
	rm -rf .codespar .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .schemathesis dist
	find . -path ./.venv -prune -o -type d -name __pycache__ -exec rm -rf {} +

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
