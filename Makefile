# make book    from nothing to a rendered book, computed on this machine
# make test    everything CI runs
# Settings: PROFILE=smoke|quick|paper  DEVICE=cpu|cuda  JOBS=2  PYTHON=python3  LECORE_DATA=folder

PYTHON ?= python3
PROFILE ?= quick
DEVICE ?= cpu
JOBS ?= 2
BIN := .venv/bin
TEST := $(BIN)/lecore --build-dir _build/test

.PHONY: book test lint unit processes coverage chapters clean

book: .venv/installed
	$(BIN)/lecore run --profile $(PROFILE) --device $(DEVICE) --jobs $(JOBS)
	$(BIN)/lecore check --profile $(PROFILE)
	$(BIN)/lecore build

test: unit
	$(MAKE) --jobs=2 --output-sync=target lint processes  # the first keeps one core busy, the second waits
	$(MAKE) chapters

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: .venv/installed
	$(BIN)/pytest -n 2 -m "not processes"

processes: .venv/installed
	$(BIN)/pytest -n 2 -m processes

coverage: .venv/installed
	$(BIN)/pytest -n 2 --cov --cov-report=term:skip-covered --cov-fail-under=90

chapters: .venv/installed
	$(TEST) run --profile smoke --device $(DEVICE) --jobs $(JOBS)
	$(TEST) check --profile smoke --junit _build/test/claims.xml --json _build/test/claims.json
	$(TEST) build

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

clean:
	rm -rf _build
