.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
EXTRAS := programs,music,speech,enhancement,plots,edge,serving,sklearn,anomalies,forecasting,codec,dev
WORKERS ?= 2
PYTEST_ARGS ?=
TEST_TIMEOUT ?= 900

export TF_CPP_MIN_LOG_LEVEL ?= 3
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help venv test lint demo cpp wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP) ## make .venv with the exact versions of constraints.txt

# A venv can lack pip (Debian splits ensurepip off): the interpreter's own pip then fills it.
$(STAMP): pyproject.toml constraints.txt
	@set -eu; \
	python="$${PYTHON:-}"; \
	if [ -z "$$python" ]; then \
	  for candidate in python3.11 python3.12 python3.13 python3; do \
	    if "$$candidate" -c '$(SUPPORTED)' 2>/dev/null; then python="$$candidate"; break; fi; \
	  done; \
	fi; \
	if [ -z "$$python" ]; then \
	  echo "Python 3.11, 3.12 or 3.13 is needed, and none is on PATH ($$(python3 --version 2>/dev/null || echo no python3))." \
	    "Install one, or name it: make venv PYTHON=/path/to/python3.11" >&2; exit 1; fi; \
	"$$python" -c '$(SUPPORTED)' || { \
	  echo "Python 3.11, 3.12 or 3.13 is needed, but $$python is $$("$$python" --version 2>&1)." >&2; exit 1; }; \
	if ! $(BIN)/python -c '$(SUPPORTED)' 2>/dev/null; then \
	  echo "Making $(VENV) with $$("$$python" --version)"; \
	  "$$python" -m venv --clear $(VENV) >/dev/null 2>&1 || "$$python" -m venv --clear --without-pip $(VENV); \
	fi; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  site="$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"; \
	  "$$python" -m pip install --quiet --target "$$site" --constraint constraints.txt pip || { \
	    echo "$$python has neither ensurepip nor pip: install them" \
	      "(on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }; \
	  $(BIN)/python -m pip install --quiet --force-reinstall --constraint constraints.txt pip; \
	fi; \
	quiet=--quiet; if [ -t 1 ]; then quiet=; fi; \
	pip="$(BIN)/python -m pip install $$quiet --constraint constraints.txt"; \
	echo "Installing TensorFlow and the rest of constraints.txt into $(VENV): about 3 GB on disk, a few minutes"; \
	echo "  1/3 pip and setuptools"; $$pip --upgrade pip setuptools; \
	echo "  2/3 TensorFlow"; $$pip tensorflow "tensorflow-probability[tf]"; \
	echo "  3/3 tfdvae with the extras $(EXTRAS)"; PYTHONWARNINGS=ignore $$pip --no-build-isolation --editable ".[$(EXTRAS)]"; \
	touch $@; \
	echo "Ready: source $(BIN)/activate"

test: $(STAMP) ## set up, then run every test
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal --timeout $(TEST_TIMEOUT) $(PYTEST_ARGS)

lint: $(STAMP) ## set up, then check style and the rules of the tree
	@$(BIN)/python -m ruff check .
	@$(BIN)/python tests/packaging/check_tree.py

demo: $(STAMP) ## set up, then train, sample and save a VRNN on Bach chorales (results in demo/)
	@$(BIN)/python -m trainers.demo --workdir demo

cpp: $(STAMP) ## set up, then build the C++ programs that run a SavedModel, and print what they link
	@$(BIN)/python -m export.native

wheel: $(STAMP) ## set up, then build the wheel into dist/
	@rm -rf build
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist .

clean: ## remove everything that these targets made
	@rm -rf $(VENV) build demo dist .pytest_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
