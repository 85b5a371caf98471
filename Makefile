# make setup | demo | test | test-slow | test-lowest | torture | audit | check | bench

PYTHON ?= python3
BIN := .venv/bin
# torch is installed first and alone: a range alone would bring another build of it.
STAMP := .venv/.installed

.PHONY: setup demo test test-slow test-lowest torture audit lint types check bench

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

# The same fast tests with the lowest version of each dependency, in an environment of their own.
test-lowest:
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints-lowest.txt torch
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints-lowest.txt . pytest pytest-xdist hypothesis
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints.txt --no-deps open_clip_torch
	PYTHONPATH=src .venv-lowest/bin/python -m pytest -n 2

# Kills, full disks, hostile inputs; docs/reliability.md holds the figures.
torture: setup
	$(BIN)/python benchmarks/torture/torture.py --json docs/reliability.json

audit: setup
	$(BIN)/python benchmarks/torture/audit.py

check: test

bench: setup
	$(BIN)/python benchmarks/speed/true_size.py
