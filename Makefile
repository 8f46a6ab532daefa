# make book      from nothing to a rendered book, computed on this machine
# make test      everything CI runs
# make thorough  its tests, with all cases of the large tables, the slow ones, and contrast on all pages
# make gpu       the tests that need a CUDA device
# make packages  those with networks and training loops of Hugging Face and Lightning
# make lock      requirements.lock anew, from requirements.txt
# Settings: PROFILE=smoke|quick|paper  DEVICE=cpu|cuda  JOBS=2  PYTHON=python3  LECORE_DATA=folder
#           LOCK=1  installs the versions of requirements.lock

PYTHON ?= python3
PROFILE ?= quick
DEVICE ?= cpu
JOBS ?= 2
BIN := .venv/bin
PIP := $(BIN)/pip --quiet --disable-pip-version-check
# uv installs in a sixth of pip's time, from where pip was told to; pip does where uv cannot
UV := for key in find-links index-url extra-index-url constraint; do name=$$(echo $$key | tr a-z- A-Z_); \
  told=$$(printenv PIP_$$name || $(BIN)/pip config get global.$$key 2>/dev/null) && export UV_$$name="$$(echo $$told)"; done; \
  UV_INDEX_STRATEGY=unsafe-best-match UV_SYSTEM_CERTS=1 $(BIN)/uv pip install --quiet --no-config --python $(BIN)/python
INSTALL = $(PIP) install "uv>=0.9,<1" && ($(UV) $(1)) || $(PIP) install --no-compile $(1)
UNUSED := '/(tests|_internal|locale|_vendor|sympy|networkx|mpmath|pip|setuptools|_inductor|onnx|mypyc?|fontTools|torchgen|debugpy|torchmetrics|lexers|linear_operator|backpack|coverage)/'
COMPILE := $(BIN)/python -m compileall -qq --workers 0 -x $(UNUSED) .venv/lib || true  # on all cores, where pip takes one
unexport PYTHONDONTWRITEBYTECODE
INSTALLED := .venv/$(if $(LOCK),locked,installed)
TEST := $(BIN)/lecore --build-dir _build/test
UNIT := -n 2 --dist loadfile -m "not processes and not book and not gpu and not packages"

.PHONY: book test lint unit thorough processes coverage chapters pages gpu packages lock clean

book: $(INSTALLED)
	$(BIN)/lecore run --profile $(PROFILE) --device $(DEVICE) --jobs $(JOBS)
	$(BIN)/lecore check --profile $(PROFILE)
	$(BIN)/lecore build

test: unit
	$(MAKE) chapters
	$(MAKE) --jobs=3 --output-sync=target lint processes pages  # the last two wait more than they work

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(INSTALLED)
	$(BIN)/pytest $(UNIT)

thorough: $(INSTALLED)
	$(BIN)/pytest $(UNIT) --thorough
	$(BIN)/pytest -n 2 --dist loadscope -m processes --thorough
	$(MAKE) chapters
	$(MAKE) pages THOROUGH=--thorough

processes: $(INSTALLED)
	$(BIN)/pytest -n 2 --dist loadscope -m processes

coverage: $(INSTALLED)
	$(BIN)/pytest -n 2 --cov --cov-report=term:skip-covered --cov-fail-under=90

chapters: $(INSTALLED)
	$(TEST) run --profile smoke --device $(DEVICE) --jobs $(JOBS)
	$(TEST) check --profile smoke --junit _build/test/claims.xml --json _build/test/claims.json

pages: $(INSTALLED)
	$(TEST) build
	$(BIN)/pytest -n 3 -m book tests/companion/test_accessibility.py $(THOROUGH)

gpu: $(INSTALLED)
	$(BIN)/pytest -m gpu

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(call INSTALL,-r requirements.txt)
	$(COMPILE)
	touch $@

.venv/locked: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) install "pip>=25"
	$(PIP) install --no-compile --require-hashes -r requirements.lock
	$(COMPILE)
	$(PIP) install --no-deps --no-build-isolation -e .
	touch $@

packages: $(INSTALLED)
	$(call INSTALL,-r tests/packages.txt)
	$(BIN)/pytest -m packages tests/test_packages.py tests/test_readme.py

lock: $(INSTALLED)
	$(PIP) install "uv>=0.9,<1"
	sed '/^-e/d' requirements.txt | $(BIN)/uv pip compile - --quiet --no-config --upgrade \
	  --universal --python-version 3.11 --generate-hashes --output-file requirements.lock \
	  --custom-compile-command "make lock: Python 3.11 or 3.12 on Linux, macOS or Windows"

clean:
	rm -rf _build
