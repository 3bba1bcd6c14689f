# Works on a machine that has only Python 3.11 or newer, pip, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: env compare test test-all lint docs bench reference weights

env: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt requirements-app.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-app.txt
	touch $@

compare: env
	$(BIN)/python compare.py --models bailu,mai_cnn,moondream

test: env
	$(BIN)/python -m pytest -m "not slow and not gpu" -n auto --dist loadfile

test-all: env
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# the pages of docs/ as a site that fetches nothing, in build/site; a warning ends it
docs: env
	$(BIN)/python -m maibench.models.baseline_table
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "open build/site/index.html"

# without what the peers ask for beyond what is here: only their evaluation loop runs
bench: env
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-bench.txt
	$(BIN)/python -m benchmarks

# remakes the numbers that the README shows
reference: env
	$(BIN)/python -m maibench.evaluation.reference
