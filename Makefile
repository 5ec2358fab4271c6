# Two commands for everybody: `make demo` and `make test`. The rest is for developers.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
# The first Python that runs and is new enough; a name on the PATH alone proves nothing (pyenv's shims).
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
# One thread per process: spinning OpenMP threads cost several times more than they give on a shared host.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help demo test check lint types imports format train clean
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make demo     install into .venv, run the main job on six simulated patients, leave the results in demo-output/
demo: $(VENV)/.installed
	$(BIN)/osteon demo

## make test     install into .venv, then run every check and test
test: $(VENV)/.installed-dev
	$(MAKE) check

## make check    ruff, mypy --strict, import-linter, pytest (what CI runs)
check: lint types imports
	$(BIN)/pytest

lint:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types:
	$(BIN)/mypy

imports:
	$(BIN)/lint-imports

## make format   let ruff format and sort
format:
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

## make train    train the demo bundle again (needs DATA=folder with the DXA table and the films, see README)
DATA ?= ../shared/data
train: $(VENV)/.installed-dev
	$(BIN)/osteon train demo --out model/bundles/demo --table $(DATA)/tables/bonequality.csv --films $(DATA)/nih

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Osteon needs Python 3.11 or newer: apt install python3 python3-venv"; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq python3-venv; else sudo apt-get install -y python3-venv; fi
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml deploy/constraints.txt
	@echo "Installing into $(VENV) (some minutes the first time: PyTorch is large)"
	$(BIN)/pip install --quiet --constraint deploy/constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python pyproject.toml deploy/constraints.txt
	@echo "Installing into $(VENV) (some minutes the first time: PyTorch is large)"
	$(BIN)/pip install --quiet --constraint deploy/constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf demo-output .pytest_cache .mypy_cache .ruff_cache
