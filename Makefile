# Two commands for a newcomer: `make quickstart` and `make test`. Everything is installed into .venv, nothing outside.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CANDIDATES := python3 python3.13 python3.12 python3.11 python3.14 python
PYTHON ?= $(shell for name in $(CANDIDATES); do \
	"$$name" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v "$$name"; break; }; \
	done)
TORCH := $(shell grep '^torch==' constraints.txt)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-all lint schemas docs benchmark-quality benchmark-adapters benchmark-sweeps benchmark-startup benchmark-preferences benchmark-domain starter

help: ## Show this list.
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 26

install: $(STAMP) ## Install Declarlm and its tools into .venv.

# torch goes first, by its exact version: left to the resolver, its dependants may pull another build of it.
$(STAMP): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ] && [ ! -x $(BIN)/python ]; then \
		echo "Declarlm needs Python 3.11 or newer with its venv module, and none of these is one: $(CANDIDATES)." >&2; \
		echo "Install it (Debian, Ubuntu: apt install python3 python3-venv), or name it: make PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi
	@if [ ! -x $(BIN)/python ]; then \
		echo "Making .venv with $(PYTHON)"; \
		"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
			echo "This Python cannot make an environment (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }; \
	fi
	@echo "Installing $(TORCH) and the other packages into .venv (some minutes, once)"
	@$(PIP) "$(TORCH)"
	@$(PIP) --constraint constraints.txt --editable ".[dev]"
	@touch $@

quickstart: $(STAMP) ## Fine-tune the starter base on the documentation of your Python, in minutes.
	@$(BIN)/python examples/quickstart/quickstart.py

test: $(STAMP) ## Run the tests that take seconds each.
	@$(BIN)/python -m pytest -q --numprocesses 2 --dist loadfile

test-all: $(STAMP) ## Run all tests but those that need a GPU or the network.
	@$(BIN)/python -m pytest -q --numprocesses 2 --dist loadfile -m "not gpu and not network"

lint: $(STAMP) ## Check format, style and types.
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

schemas: $(STAMP) ## Export the config's JSON Schema to schemas/.
	@mkdir -p schemas && $(BIN)/declarlm schema > schemas/config.schema.json

docs: $(STAMP) ## Generate docs/reference from the code.
	@$(BIN)/python docs/make_reference.py docs/reference

benchmark-quality: $(STAMP) ## Train and measure every row of the quality table (more than an hour).
	@$(BIN)/python benchmarks/quality.py

benchmark-adapters: $(STAMP) ## Train every adapter by its own defaults and write the table (an hour).
	@$(BIN)/python benchmarks/adapters.py

benchmark-sweeps: $(STAMP) ## Measure sweeps: their best, their overhead, their memory (half an hour).
	@$(BIN)/python benchmarks/sweeps.py

benchmark-preferences: $(STAMP) ## Measure dpo, orpo and kto on right and wrong answers (a quarter of an hour).
	@$(BIN)/python benchmarks/preferences.py

benchmark-domain: $(STAMP) ## Measure what a model learns from plays and forgets of stories (ten minutes).
	@$(BIN)/python benchmarks/domain_adaptation.py

benchmark-startup: $(STAMP) ## Measure how long the first commands take.
	@$(BIN)/python benchmarks/startup.py

starter: $(STAMP) ## Make the starter base anew: corpus, pretraining, export (an hour).
	$(BIN)/python examples/starter_base/make_corpus.py --output build/starter/corpus.parquet
	$(BIN)/declarlm train -c examples/starter_base/config.yaml --dataset build/starter/corpus.parquet \
		--output runs --name starter
	$(BIN)/python examples/starter_base/export_starter.py runs/starter --corpus build/starter/corpus.json
