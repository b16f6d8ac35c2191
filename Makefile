# Every target makes the virtual environment it needs; nothing outside .venv is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test slow browser parity gpu check thorough bench coverage clean

$(STAMP): pyproject.toml constraints.txt
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

slow: $(VENV)/.test
	$(BIN)/python -m pytest -q -m slow --timeout 3600

browser: $(VENV)/.browser
	$(BIN)/python -m pytest -q -m browser

gpu: $(VENV)/.test
	$(BIN)/python -m pytest -q -m gpu

parity: $(VENV)/.test
	sh tests/parity/run.sh

check: $(VENV)/.dev
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/docs tests/test_house.py

# Everything that CI leaves out: minutes of reproductions and kills, then other packages.
thorough: slow parity

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks

# Do the intervals cover, are lists of names as true as they say, and is the adversary's factor right?
# Some 35 minutes on 2 cores; fails where something that is printed does not hold.
coverage: $(VENV)/.test
	$(BIN)/python -m benchmarks.coverage
	$(BIN)/python -m benchmarks.discoveries
	$(BIN)/python -m benchmarks.adversary

clean:
	rm -rf $(VENV) runs
