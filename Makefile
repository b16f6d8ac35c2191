# Every target makes the virtual environment it needs; nothing outside .venv* is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lowest newest slow browser parity adapters gpu check thorough bench coverage fuzz clean

$(STAMP): pyproject.toml setup.py constraints.txt $(wildcard src/seepage/native/source/*)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.test: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --group test
	touch $@

$(VENV)/.dev: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --group dev
	touch $@

$(VENV)/.browser: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --group browser
	touch $@

demo: $(STAMP)
	$(BIN)/seepage audit examples/digits.toml

test: $(VENV)/.test
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

# On the lowest versions that pyproject.toml declares, and on the newest that are released, each in an
# environment of its own: gigabytes, since torch then comes with CUDA. The lowest need Python 3.11 or 3.12.
lowest: .venv-lowest/.installed
	.venv-lowest/bin/python -m pytest -q -n 2 --dist worksteal

.venv-lowest/.installed: pyproject.toml constraints-lowest.txt
	test -x .venv-lowest/bin/python || $(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python $(PIP) --upgrade "pip>=25.1"
	.venv-lowest/bin/python $(PIP) -c constraints-lowest.txt -e . --group test
	touch $@

newest:
	test -x .venv-newest/bin/python || $(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python $(PIP) --upgrade "pip>=25.1"
	.venv-newest/bin/python $(PIP) --upgrade --upgrade-strategy eager -e . --group test
	.venv-newest/bin/python -m pip list --format freeze --exclude-editable > .venv-newest/versions.txt
	.venv-newest/bin/python -m pytest -q -n 2 --dist worksteal

slow: $(VENV)/.test
	$(BIN)/python -m pytest -q -m slow --timeout 3600

browser: $(VENV)/.browser
	$(BIN)/python -m pytest -q -m browser

gpu: $(VENV)/.test
	$(BIN)/python -m pytest -q -m gpu

parity: $(VENV)/.test
	sh tests/parity/run.sh

# Against the real Lightning, Transformers, boosting libraries, trackers and HopSkipJump, in an environment of its own.
adapters: .venv-adapters/.installed
	.venv-adapters/bin/python -m pytest -q -m adapters tests/adapters

.venv-adapters/.installed: pyproject.toml constraints.txt
	test -x .venv-adapters/bin/python || $(PYTHON) -m venv .venv-adapters
	.venv-adapters/bin/python $(PIP) --upgrade "pip>=25.1"
	.venv-adapters/bin/python $(PIP) -c constraints.txt -e . --group adapters
	touch $@

check: $(VENV)/.dev
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/docs tests/test_house.py

# Everything that CI leaves out: minutes of reproductions and kills, then other packages.
thorough: slow parity

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks

# Do the intervals cover, are lists of names as true as they say, is the adversary's factor right, are bounds
# on ε below it, and do attacks find nothing where nothing is? Some 60 minutes on 2 cores; fails where
# something that is printed does not hold.
coverage: $(VENV)/.test
	$(BIN)/python -m benchmarks.coverage
	$(BIN)/python -m benchmarks.discoveries
	$(BIN)/python -m benchmarks.adversary
	$(BIN)/python -m benchmarks.epsilon
	$(BIN)/python -m benchmarks.label_inference
	$(BIN)/python -m benchmarks.null_grid

# Malformed input to every command and reader, at least 10,000; a table of what became of it.
fuzz: $(VENV)/.test
	$(BIN)/python -m benchmarks.fuzz

clean:
	rm -rf $(VENV) .venv-lowest .venv-newest .venv-adapters .venv-parity .venv-parity-epsilon runs
