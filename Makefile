# Every target sets up what it needs: a fresh clone, Python >= 3.11 and make are enough.
PYTHON ?= python3
BIN := .venv/bin

# the versions of constraints/X.Y.txt, for the Python of .venv
INSTALL := $(BIN)/python tools/dependencies.py install pinned
# the dependency group of developers, and the extras that the tests try
DEV := dev baselines dask faiss jax parquet report sklearn testing

.PHONY: setup update latest oldest demo test properties lint slow soak fuzz mutants simulate bench docs docs-serve clean

setup: .venv/.installed

.venv/.installed: pyproject.toml setup.py tools/dependencies.py $(wildcard constraints/*.txt)
	$(PYTHON) -m venv .venv
	$(INSTALL) $(DEV)
	$(BIN)/coded-als warm-up
	touch $@

# pin the newest versions for the Python in use (PYTHON=python3.13 make update)
update:
	$(PYTHON) -m venv --clear .venv-update
	.venv-update/bin/python tools/dependencies.py install latest $(DEV) docs
	.venv-update/bin/python tools/dependencies.py freeze
	rm -rf .venv-update

# the suite with the newest versions, or with the oldest that pyproject.toml allows, in an environment of its own; there a
# deprecation is only shown
latest oldest:
	$(PYTHON) -m venv --clear .venv-$@
	.venv-$@/bin/python tools/dependencies.py install $@ $(DEV)
	if [ $@ = latest ]; then .venv-latest/bin/mypy; fi
	.venv-$@/bin/python -m pytest -n 2 --dist loadfile -W default::DeprecationWarning -W default::FutureWarning -W default::PendingDeprecationWarning

demo: setup
	$(BIN)/coded-als demo

# files of tests are shared out over one process more than two cores, as many of them wait for workers: this takes a twentieth
# less time than two; threads of BLAS in all of them would only wait for each other
test properties latest oldest: export OPENBLAS_NUM_THREADS = 1
# hundreds of short processes run in the tests: where bytecode is not kept, each would compile the package again
unexport PYTHONDONTWRITEBYTECODE
test: setup
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# the property tests with examples that no run has drawn before; a failure prints the example
properties: setup
	$(BIN)/python -m pytest -n 2 -m hypothesis --hypothesis-profile "new examples"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file benchmarks/mypy.ini

slow: setup
	$(BIN)/python -m pytest -m slow

soak: setup
	$(BIN)/python benchmarks/soak.py --minutes 10

# bytes from the network, guided by coverage; skipped with a reason where atheris does not install
fuzz: setup
	-$(INSTALL) $(DEV) fuzz
	$(BIN)/python -m tests.fuzz_wire -max_total_time=60

# planted mistakes that the suite must notice; not part of test
mutants: setup
	$(BIN)/python -m tests.mutants

# the real master and workers on a virtual clock, 10,000 seeds of it; make simulate SEED=42 replays one
simulate: export OPENBLAS_NUM_THREADS = 1
simulate: setup
	$(BIN)/python -m tests.simulation $(SEED)

bench: setup
	$(INSTALL) $(DEV) bench
	for script in benchmarks/*.py; do echo "== $$script"; PYTHONPATH=. $(BIN)/python $$script || exit 1; done

docs: setup
	$(INSTALL) $(DEV) docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "site/index.html; make docs-serve shows it with its search"

docs-serve: docs
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory site 8000

clean:
	rm -rf .venv .venv-latest .venv-oldest .venv-update site .pytest_cache .mypy_cache .ruff_cache .hypothesis
