# Everything a developer runs. `make demo` and `make up` need only the server; the rest adds the development tools.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH ?=
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo up test lint format lock bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/server ## run a job through the five steps on this machine
	@$(BIN)/python -m cloud_executor.client.demo

up: $(VENV)/server ## start the local stack: executor up
	@$(BIN)/executor up

test: $(VENV)/dev ## run the whole test-suite
	@$(BIN)/python -m pytest

lint: $(VENV)/dev ## ruff, strict types, and that requirements.txt is fresh
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@cp requirements.txt requirements-dev.txt $(VENV)/ && $(MAKE) --silent lock && \
		cmp requirements.txt $(VENV)/requirements.txt && cmp requirements-dev.txt $(VENV)/requirements-dev.txt || \
		{ echo "requirements.txt is stale: commit what make lock wrote"; exit 1; }

format: $(VENV)/dev ## format the code and mend what ruff can
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	--custom-compile-command 'make lock' --no-annotate

lock: $(VENV)/dev ## write requirements.txt and requirements-dev.txt anew from pyproject.toml
	@$(LOCK) --extra server --extra google --extra s3 --extra vm pyproject.toml -o requirements.txt
	@$(LOCK) --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt

bench: $(VENV)/dev ## measure the stack beside the limits of this machine
	@$(BIN)/python -m bench $(BENCH)

clean: ## remove the virtual environment and caches
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache

$(VENV)/server: pyproject.toml requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name it: make demo PYTHON=python3.12"; exit 2; }
	@test -x $(BIN)/python || { echo "Setting up $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
	@$(INSTALL) -c requirements.txt --editable '.[server]'
	@touch $@

$(VENV)/dev: $(VENV)/server requirements-dev.txt
	@$(INSTALL) -r requirements-dev.txt
	@touch $@
