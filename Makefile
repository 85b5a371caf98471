# make setup | demo | test | test-slow | check | bench

PYTHON ?= python3
BIN := .venv/bin
# torch is installed first and alone: a range alone would bring another build of it.
STAMP := .venv/.installed

.PHONY: setup demo test test-slow lint types check bench

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps open_clip_torch
	touch $@

demo: setup
	$(BIN)/textreg demo

test: setup lint types
	$(BIN)/python -m pytest -n 2

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/pyright

test-slow: setup
	$(BIN)/python -m pytest -m slow

check: test

bench: setup
	$(BIN)/python benchmarks/speed/true_size.py
