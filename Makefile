# Everything starts from Python 3.11 or newer, with pip: each target makes the environment that it needs.
PYTHON ?= python3
VENV ?= .venv
BENCH_VENV ?= .venv-bench
PYTEST_ARGS ?=
BENCH_ARGS ?=
BENCH_PIP_ARGS ?= # e.g. --extra-index-url https://download.pytorch.org/whl/cpu, for torch without CUDA

.PHONY: demo test lint docs bench clean help

help:
	@echo "make demo   set up, then run the examples that need nothing else and print a summary"
	@echo "make test   set up, then ruff, mypy and pytest (PYTEST_ARGS=...)"
	@echo "make lint   ruff and mypy only"
	@echo "make docs   build the documentation in build/docs; warnings are errors"
	@echo "make bench  compare with torch, JAX and KeOps (BENCH_ARGS=...); installs them in $(BENCH_VENV)"
	@echo "make clean  remove the environments and caches"

demo: $(VENV)/.demo
	$(VENV)/bin/python examples/demo.py

test: lint
	$(VENV)/bin/python -m pytest -q $(PYTEST_ARGS)

lint: $(VENV)/.test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

docs: $(VENV)/.docs
	$(VENV)/bin/python -m sphinx -W --keep-going --quiet -b html docs build/docs

bench: $(BENCH_VENV)/.bench
	$(BENCH_VENV)/bin/python -m benchmarks $(BENCH_ARGS)

# A stamp file records an installation; it is made again when what is compiled changes, or how.
TYPES = $(wildcard src/wengert/*.pxd src/wengert/*/*.pxd)
CORE = pyproject.toml setup.py $(TYPES) $(TYPES:.pxd=.py)

$(VENV)/bin/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'wengert needs Python 3.11: make PYTHON=...')"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(CORE) | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.test: $(CORE) | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable '.[test]'
	touch $@ $(VENV)/.demo

$(VENV)/.docs: $(CORE) | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable '.[docs]'
	touch $@ $(VENV)/.demo

$(BENCH_VENV)/.bench: $(CORE)
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet $(BENCH_PIP_ARGS) --editable '.[benchmarks]'
	touch $@

clean:
	rm -rf $(VENV) $(BENCH_VENV) build/docs .mypy_cache .pytest_cache .ruff_cache .hypothesis
