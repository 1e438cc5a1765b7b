# make demo: render phantoms, train a small R2Gen, draft, score, write demo/report.html
# make test: the test suite with coverage
# Both create .venv with pip when it is missing.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin

.PHONY: demo test slow lint types

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "cxreport needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(RUN)/cxreport demo --out demo

test: $(VENV)/.installed
	$(RUN)/pytest --cov --cov-report=term --cov-fail-under=85

slow: $(VENV)/.installed
	$(RUN)/pytest -m slow

lint: $(VENV)/.installed
	$(RUN)/ruff check src tests benchmarks
	$(RUN)/ruff format --check src tests benchmarks

types: $(VENV)/.installed
	$(RUN)/mypy
