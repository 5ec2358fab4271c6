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

.PHONY: FORCE evaluate-demo ablation model-card help demo test check lint types imports format train-demo clean bench-receive chaos malformed soak fuzz bench-feeds bench-decode bench-infer bench-ledger bench-e2e sim-identity viewer validate-reports bench-report
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
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types:
	$(BIN)/mypy

imports:
	$(BIN)/lint-imports

## make bench-receive  durable reception beside the bare limit, stock pynetdicom, DCMTK and Orthanc (about 8 minutes)
bench-receive: $(VENV)/.installed-dev
	PYTHONPATH=.:tests $(BIN)/python -m bench.bench_receive

## make format   let ruff format and sort
format:
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

## make train-demo  make the demo bundle anew in training-run/ and say whether the shipped one's figures hold (within 60 minutes on 2 quiet cores; DATA=folder with the DXA table and the films)
DATA ?= ../shared/data
train-demo: $(VENV)/.installed-dev
	$(BIN)/osteon train demo --table $(DATA)/tables/bonequality.csv --films $(DATA)/nih

## make evaluate-demo  the shipped bundle on 2,000 unseen phantoms and the real data in DATA: every bar (about 20 minutes of CPU)
evaluate-demo: $(VENV)/.installed-dev
	$(BIN)/osteon evaluate --bundle demo --phantoms 2000 --data $(DATA) --report evaluation

## make ablation  wavelets, attention and fusion rules on equal folds, in words (about 40 minutes of CPU on the training's films)
ablation: $(VENV)/.installed-dev
	$(BIN)/osteon train ablation --out evaluation

## make model-card  write deploy/docs/model-card.md from the shipped bundle and what of evaluate-demo and ablation was run
model-card: $(VENV)/.installed-dev
	$(BIN)/osteon model card \
	  $(patsubst %,--evaluation %,$(wildcard evaluation/evaluation.json)) \
	  $(patsubst %,--ablation %,$(wildcard evaluation/ablation.json))

## make chaos    kill -9 at every point and at random (KILLS=200 each on SQLite and PostgreSQL, 60 with RabbitMQ), full disks,
##               databases, brokers and clocks that fail; audit by ledger, spool and archive (about 40 minutes)
KILLS ?= 200
SEED ?= 1
chaos: $(VENV)/.installed-dev
	PYTHONPATH=.:tests $(BIN)/python -m chaos.every_campaign --kills $(KILLS) --seed $(SEED) --npm $(VENV)/npm-peers

## make malformed  20,000 mutated PDUs and datasets against a running listener (COUNT=, SEED=; about 10 minutes)
COUNT ?= 20000
malformed: $(VENV)/.installed-dev
	PYTHONPATH=.:tests $(BIN)/python -m chaos.malformed --count $(COUNT) --seed $(SEED)

## make soak     good senders, probes, half-open sockets and aborts for SECONDS=600; memory, threads and descriptors stay
SECONDS ?= 600
soak: $(VENV)/.installed-dev
	PYTHONPATH=.:tests $(BIN)/python -m chaos.soak --seconds $(SECONDS) --seed $(SEED)

## make sim-identity  100,000 noisy studies of two facilities with overlapping numbers through the matching rule (about 8 minutes)
sim-identity: $(VENV)/.installed-dev
	PYTHONPATH=.:tests $(BIN)/python -m sim.identity

## make fuzz     500,000 damaged HL7 messages and 50,000 byte streams in 3 chunkings each (MESSAGES=, STREAMS=; about 8 minutes)
MESSAGES ?= 500000
STREAMS ?= 50000
fuzz: $(VENV)/.installed-dev
	PYTHONPATH=.:tests $(BIN)/python -m fuzz.campaign --messages $(MESSAGES) --streams $(STREAMS) --seed $(SEED)

## make bench-decode  every transfer syntax beside pydicom's decoders, half resolution, preprocessing (about 3 minutes)
bench-decode: $(VENV)/.installed-dev
	PYTHONPATH=.:tests $(BIN)/python -m bench.bench_decode

## make bench-infer  torch and OpenVINO on the shipped bundle, cold starts, memory, the archive run (about 8 minutes)
bench-infer: $(VENV)/.installed-dev
	PYTHONPATH=.:tests $(BIN)/python -m bench.bench_infer

## make validate-reports  more than 150 report objects of every kind before dciodvfy, dsrdump, dsr2html, dcentvfy and PixelMed (about 8 minutes)
validate-reports: $(VENV)/.installed-dev
	PYTHONPATH=.:tests $(BIN)/python -m validate.validate_reports

## make bench-report  time and size of one SR and one page (about 2 minutes)
bench-report: $(VENV)/.installed-dev
	PYTHONPATH=.:tests $(BIN)/python -m bench.bench_report

## make bench-feeds  HL7 reader and listener beside hl7 and hl7apy, and the CSV import of 1,000,000 rows (about 20 minutes)
bench-feeds: $(VENV)/.installed-dev
	PYTHONPATH=.:tests $(BIN)/python -m bench.bench_feeds
	PYTHONPATH=.:tests $(BIN)/python -m bench.oru_processing

## make bench-ledger  100,000 waiting cases: what one costs at the start and at the end, SQLite and PostgreSQL (about 12 minutes)
bench-ledger: $(VENV)/.installed-dev
	PYTHONPATH=.:tests $(BIN)/python -m bench.bench_ledger

## make bench-e2e   from C-STORE to the SR at the PACS, beside storescp + exec, Orthanc + polling and handler inference (about 15 minutes)
bench-e2e: $(VENV)/.installed-dev
	PYTHONPATH=.:tests $(BIN)/python -m bench.bench_e2e

## make viewer   a report in OHIF (npm) before Orthanc, opened by headless Chromium; screenshots in demo-output/ (about 2 minutes)
viewer: $(VENV)/.installed-dev
	PYTHONPATH=.:tests $(BIN)/python -m viewer.run $(if $(SHORT),--short)

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Osteon needs Python 3.11 or newer: apt install python3 python3-venv"; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq python3-venv; else sudo apt-get install -y python3-venv; fi
	$(PYTHON) -m venv $(VENV)

# What was installed from, by content: a checkout that was unpacked with its old times is a new one all the same.
$(VENV)/.inputs: $(VENV)/bin/python FORCE
	@cat pyproject.toml deploy/constraints.txt | cmp -s - $@ || cat pyproject.toml deploy/constraints.txt > $@

FORCE:

$(VENV)/.installed: $(VENV)/.inputs
	@echo "Installing into $(VENV) (some minutes the first time: PyTorch is large)"
	$(BIN)/pip install --quiet --constraint deploy/constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.inputs
	@echo "Installing into $(VENV) (some minutes the first time: PyTorch is large)"
	$(BIN)/pip install --quiet --constraint deploy/constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf demo-output .pytest_cache .mypy_cache .ruff_cache
