# Every target sets up what it needs: a fresh clone, Python >= 3.11 and make are enough.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test lint slow soak fuzz mutants bench docs clean

setup: .venv/.installed

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/coded-als demo

# files of tests are shared out over two processes: most wait for workers, not for a core
test: setup lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

slow: setup
	$(BIN)/python -m pytest -m slow

soak: setup
	$(BIN)/python benchmarks/soak.py --minutes 10

# bytes from the network, guided by coverage; skipped with a reason where atheris does not install
fuzz: setup
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[fuzz]"
	$(BIN)/python -m tests.fuzz_wire -max_total_time=60

# planted mistakes that the suite must notice; not part of test
mutants: setup
	$(BIN)/python -m tests.mutants

bench: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[bench]"
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

docs: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "site/index.html"

clean:
	rm -rf .venv site .pytest_cache .mypy_cache .ruff_cache .hypothesis
