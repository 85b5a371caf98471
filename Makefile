# make setup | demo | test | test-thorough | test-slow | test-lowest | torture | audit | check | bench | docs

PYTHON ?= python3
BIN := .venv/bin
# torch is installed first and alone: a range alone would bring another build of it.
STAMP := .venv/.installed

.PHONY: setup demo test test-thorough test-slow test-lowest torture audit lint types check bench docs

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
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/pyright

# Proofs by many whole runs: families, placements, waves, ranks, quarantine, comparisons.
test-thorough: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "thorough and not slow"

test-slow: setup
	$(BIN)/python -m pytest -m slow

# The same fast and thorough tests with the lowest version of each dependency, in an environment of their own.
test-lowest:
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints-lowest.txt torch
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints-lowest.txt . pytest pytest-xdist hypothesis
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints.txt --no-deps open_clip_torch
	PYTHONPATH=src .venv-lowest/bin/python -m pytest -n 2 --dist worksteal -m "not slow"

# Kills, full disks, hostile inputs; docs/reliability.md holds the figures. PARTS: only these.
PARTS ?=
torture: setup
	$(BIN)/python benchmarks/torture/torture.py --json benchmarks/results/torture-cpu.json $(if $(PARTS),--parts $(PARTS))
	$(BIN)/python benchmarks/torture/page.py

audit: setup
	$(BIN)/python benchmarks/torture/audit.py

check: test

# What pages hold of benchmarks/results, written anew.
docs: setup
	$(BIN)/python benchmarks/study/page.py
	$(BIN)/python benchmarks/speed/page.py
	$(BIN)/python benchmarks/torture/page.py

# EXAMPLES: diffusers' folder examples, to measure against; see docs/performance.md.
EXAMPLES ?=
RESULTS := benchmarks/results

# The settings of each JSON. The first is in bf16, which is slow without avx512_bf16.
PEERS = $(BIN)/python benchmarks/speed/peers.py --diffusers-examples $(EXAMPLES) --json $(RESULTS)

bench: setup
ifdef EXAMPLES
	if grep -q avx512_bf16 /proc/cpuinfo; then $(PEERS)/peers-cpu.json \
		--precision bf16 --steps 20 --warm-up 8 --rounds 2; \
	else echo "left out: peers in bf16; this processor has no avx512_bf16"; fi
	$(PEERS)/peers-fp32-cpu.json --steps 20 --warm-up 8 --rounds 2
else
	@echo "left out: peers; make bench EXAMPLES=path/to/diffusers/examples"
endif
	$(BIN)/python benchmarks/speed/scaling.py --json $(RESULTS)/scaling-cpu.json
	if grep -q avx512_bf16 /proc/cpuinfo; then $(BIN)/python benchmarks/speed/scaling.py --dtype bf16 \
		--json $(RESULTS)/scaling-bf16-cpu.json; fi
	$(BIN)/python benchmarks/speed/step.py --json $(RESULTS)/step-cpu.json
	$(BIN)/python benchmarks/speed/drift_cost.py --json $(RESULTS)/drift_cost-cpu.json
	$(BIN)/python benchmarks/speed/startup.py --json $(RESULTS)/startup-cpu.json
	$(BIN)/python benchmarks/speed/large_pages.py --json $(RESULTS)/large_pages-cpu.json
	$(BIN)/python benchmarks/speed/sd15.py --json $(RESULTS)/sd15-cpu.json
	$(BIN)/python benchmarks/speed/page.py
