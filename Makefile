# Everything runs in .venv, which the first target that needs it creates and later ones reuse; test-lens3 has its own.

PYTHON ?= python3
# Files of tests in two processes of one thread each; more would hold as many models in memory.
PYTEST_ARGS ?= --numprocesses 2 --dist loadfile
# What takes longest is listed at the end.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest --durations=15
# Of every floor, what needs neither the demo model nor many others.
QUICK_TESTS := adapters cache cache_files commands comparison export ground_truth grouping names oracles ranking rules \
	scores slices target_kinds targets tree_command

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

LENS3 := .venv-lens3
# What depends on how TransformerLens names, stores and computes; the rest works on graphs and numbers.
LENS3_TESTS := adapters breakdown cache cache_files cache_parity cache_properties cache_store checks graph \
	target_kinds targets

.DEFAULT_GOAL := help
.PHONY: help install demo test check test-quick test-thorough test-all test-lens3 notebooks pictures docs build bench format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Create .venv with the package (editable) and all it needs

# Of the environment that a stamp belongs to, a change to the pinned versions.
$(LENS3)/.installed: REPIN := s/^transformer-lens==.*/transformer-lens==3.9.0/

# pip leaves a package half installed when it is killed, so an install that started and did not end starts over.
%/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "constraints.txt needs Python 3.11 or newer: make PYTHON=python3.x")'
	@echo "Installing into $* (some minutes the first time)"
	@rm -f $@
	@if [ -e $*/.installing ]; then rm -rf $*; fi
	@mkdir -p $* && touch $*/.installing
	$(PYTHON) -m venv $*
	@sed '$(REPIN)' constraints.txt > $*/constraints.txt
	$*/bin/python -m pip install --quiet --upgrade --constraint $*/constraints.txt pip
	$*/bin/python -m pip install --quiet --constraint $*/constraints.txt --group dev --editable '.[demo,parquet,pictures]'
	@mv $*/.installing $@

demo: $(STAMP) ## Trace one answer of a small model into demo.html and demo.json
	$(BIN)/recursive-dla trace "When John and Mary went to the store, John gave a drink to" \
		--answer " Mary" --wrong " John" --out demo.html --out demo.json

check: $(STAMP) ## Check format, lint, types, and what imports what
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## All that, and the tests that a change has to pass
	$(PYTEST) -m "not thorough" $(PYTEST_ARGS)

test-thorough: $(STAMP)
	$(PYTEST) -m thorough $(PYTEST_ARGS)

test-all: test test-thorough ## Every test: also every architecture, the explorer in a browser, the notebooks

test-quick: $(STAMP) ## Some tests of everything, in under a minute
	$(PYTEST) -m "not thorough and not demo" $(QUICK_TESTS:%=tests/test_%.py) $(PYTEST_ARGS)

test-lens3: $(LENS3)/.installed ## Run what depends on TransformerLens with its version 3.9
	OMP_NUM_THREADS=1 $(LENS3)/bin/pytest $(LENS3_TESTS:%=tests/test_%.py) $(PYTEST_ARGS)

notebooks: $(STAMP) ## Run the notebooks and save them with fresh outputs
	$(BIN)/python notebooks/execute.py

pictures: $(STAMP) ## Make the pictures of README and documentation
	$(BIN)/python docs/pictures.py

docs: $(VENV)/.docs ## Build the documentation into build/docs; a link that leads nowhere is an error
	$(BIN)/sphinx-build --builder html --fail-on-warning --keep-going --fresh-env --quiet docs build/docs

$(VENV)/.docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group docs
	@touch $@

# The fresh environment borrows its dependencies from .venv, since to download torch once more would show nothing.
build: $(STAMP) ## Build wheel and sdist, install the wheel into a fresh environment and run it there
	rm -rf dist build/fresh
	$(BIN)/python -m build
	$(PYTHON) -m venv build/fresh
	build/fresh/bin/python -m pip install --quiet --no-deps dist/*.whl
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$(build/fresh/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/dependencies.pth"
	cd build/fresh && bin/recursive-dla --version && bin/recursive-dla trace "The capital of Japan is" \
		--answer " Tokyo" --out tokyo.html --out tokyo.json && ls -l tokyo.*

bench: $(STAMP) ## Run every benchmark
	@set -e; for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

format: $(STAMP) ## Format the code and fix what lint can fix
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean: ## Remove the environments and everything that was built
	rm -rf $(VENV) $(LENS3) build dist demo.html demo.json
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
