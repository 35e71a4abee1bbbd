# Baton: `make help` lists the verbs. Everything lives in .venv and .baton (BATON_HOME).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
SYSTEM ?= financial_crime
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEVELOPMENT := $(VENV)/.development
SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file include/mkdocs.yml
GATED := actions stages effects registry quarantine
TRACED := $(wildcard $(GATED:%=tests/unit/%)) tests/unit/lookups tests/unit/incident_response
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps

# set in many container images; every process would compile every module anew
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup develop demo up test test-browser test-compose lint docs bench gameday mutants clean

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(RUNTIME) ## virtual environment from requirements.lock, hashes checked

demo: setup ## card fraud on real data, end to end; SYSTEM=supply_chain, customer_experience or all tells more
	$(BIN)/baton demo $(filter-out all,$(SYSTEM))

up: setup ## Airflow and MLflow on 127.0.0.1 until Ctrl-C; PACK=NAME runs one pack alone
	$(BIN)/baton data $(PACK)
	exec $(BIN)/baton up $(PACK:%=--pack %)

test: lint ## lint, types and all tests
	@# tracing doubles the time of unit tests, so only those of the rooms with a gate of their own are run with it, and only then
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit -n 2 $(TRACED:%=--ignore=%)
	$(BIN)/python -m pytest tests/dags
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests/integration tests/attacks tests/faults $(TRACED) --cov --cov-report=
	$(BIN)/coverage report --skip-covered
	for room in $(GATED); do $(BIN)/coverage report --include="include/baton/$$room/*" --fail-under=90; done
	$(BIN)/python -m pytest tests/e2e

test-browser: develop ## five log-ins vote in a real browser; needs Debian's chromium and chromium-driver; PICTURES=folder keeps what they see
	$(BIN)/python -m pytest tests/browser -x -s $(PICTURES:%=--pictures %)

test-compose: develop ## docker-compose.yml in real containers, processes killed; needs root and docker.io with Compose
	$(BIN)/python -m pytest tests/cluster -x -s

lint: develop ## style, types, layers, YAML of the packs, documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/baton lint
	$(SITE)

docs: develop ## generated pages anew, then the documentation as a site in .baton/site
	$(BIN)/python include/docs/generate.py
	$(SITE)

bench: develop ## performance suite with its peers; NAME=drift runs one
	$(BIN)/python tests/bench/run.py $(NAME)

gameday: develop ## kills tasks and services in the middle of every stage
	$(BIN)/python tests/faults/gameday.py

mutants: develop ## small changes that a test should notice; NAME=effects changes one room
	$(BIN)/python tests/mutants/run.py $(NAME)

clean: ## remove the environment and caches; state in .baton stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage

develop: $(DEVELOPMENT)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
	  || { echo "Baton needs Python 3.11 or 3.12; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): requirements.lock pyproject.toml | $(BIN)/python
	@echo "installing what requirements.lock names; a few minutes, once"
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) -e .
	@# once here, instead of in the first run of every service; some packages carry files for other Pythons
	-@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib include >/dev/null
	@touch $@

$(DEVELOPMENT): requirements-dev.lock $(RUNTIME)
	$(PIP) --require-hashes -r requirements-dev.lock
	-@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null
	@touch $@
