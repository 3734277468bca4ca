# Everything here works on a fresh machine with Python 3.11+ and make: the virtual environment is made when missing.
PYTHON ?= python3
VENV ?= .venv
KERNEL = $(wildcard charrnn/kernel/*.[ch])
NUMERICAL = tests/insight tests/sampling tests/scoring tests/model tests/kernel tests/lab/test_lab_gradients.py tests/text/test_ngram.py
CORETYPE ?= Prescott
PIP = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: names test test-blas check test-slow clean

names: $(VENV)/.installed  ## train on the shipped names for about a minute, then print ten
	$(VENV)/bin/charrnn train names --config names --run runs/make-names --overwrite
	@$(VENV)/bin/charrnn sample runs/make-names --count 10

test: $(VENV)/.installed-dev  ## the tests, under six minutes on two cores
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile

# numpy's OpenBLAS picks its kernel by the processor, and each kernel rounds otherwise. Every x86-64 has Prescott.
test-blas: $(VENV)/.installed-dev  ## the numerical tests with another kernel of numpy's BLAS: CORETYPE=Haswell, SkylakeX, ...
	OPENBLAS_CORETYPE=$(CORETYPE) $(VENV)/bin/python -m pytest -n 2 --dist loadfile -k "not c99" $(NUMERICAL)

check: $(VENV)/.installed-dev  ## lint, format, types and the fast tests
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/clang-format --dry-run --Werror $(KERNEL)
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile -m "not slow and not medium"

test-slow: $(VENV)/.installed-dev  ## everything, the gigabyte corpus included
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile -m "" --timeout 1800

$(VENV)/bin/python:
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt $(KERNEL)
	@echo "installing torch, typer, numpy ... into $(VENV) (about a minute)"
	@$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python pyproject.toml constraints.txt $(KERNEL)
	@echo "installing torch, pytest, ruff, mypy ... into $(VENV) (about two minutes)"
	@$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
