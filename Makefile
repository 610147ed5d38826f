# `make demo` and `make test` work on a fresh machine with python3 >= 3.11 and pip; both create .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Hundreds of processes import the same modules: let the first of them keep what it has compiled.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo observe test test-fast lint format clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Manta needs Python 3.11 or later: make PYTHON=python3.11 …" >&2; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
		{ echo "error: no virtual environment: install the package python3-venv" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(INSTALLED) ## pack, fine-tune, evaluate, serve and predict, all on this machine
	PATH="$(CURDIR)/$(BIN):$$PATH" bash cluster/local/demo.sh

observe: $(INSTALLED) ## Prometheus for the Ray on this machine, with rules and dashboards
	$(BIN)/python -m cluster.observe up

# What starts a Ray waits a lot, so two processes of tests run side by side. OpenMP threads that spin while they wait
# would take each other's core. Helm's engine brings a runtime of its own (Go): it stays out of the process that tests lib.
# What sends signals to its own process has a process to itself.
PYTEST = $(BIN)/pytest --durations=20
SIGNALS := tests/lib/train/test_signals.py
ASIDE := tests/benchmarks tests/serving
test: export OMP_WAIT_POLICY = PASSIVE
test: lint ## lint, types and all tests
	@{ $(PYTEST) $(SIGNALS); signals=$$?; \
		$(PYTEST) -m "not integration" tests/lib --ignore=$(SIGNALS); lib=$$?; \
		$(PYTEST) -m "not integration" --ignore=tests/lib; rest=$$?; \
		$(PYTEST) -m integration $(ASIDE); aside=$$?; \
		exit $$((signals ? signals : lib ? lib : rest ? rest : aside)); } > .aside-tests.log 2>&1 & aside=$$!; \
		$(PYTEST) -m integration $(ASIDE:%=--ignore=%); main=$$?; \
		wait $$aside; aside=$$?; cat .aside-tests.log; exit $$((aside ? aside : main))

test-fast: $(INSTALLED) ## unit tests only, in seconds
	$(BIN)/pytest -m "not integration" --ignore=$(SIGNALS)
	$(BIN)/pytest $(SIGNALS)

lint: $(INSTALLED) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove caches and the demo's results; .venv and other runs stay
	rm -rf runs/demo .aside-tests.log build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
