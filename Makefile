# `make` alone lists the commands.
.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint clean
.DELETE_ON_ERROR:

PYTHON ?= python3.12
PYTHONS := $(PYTHON) $(filter-out $(PYTHON),python3.12 python3.13 python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := tflite,coreml,onnx2tf,report,zoo,dev
DEMO_OUT ?= demo-out
# More arguments for pip and pytest, for example: make test PYTEST_ARGS="-x -k store"
PIP_ARGS ?=
PYTEST_ARGS ?=

help: ## List these commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

install: $(STAMP) ## Make .venv and install edgekit with its tools into it

# The stamp is written last: an interrupted installation starts again, a finished one does not.
$(STAMP): pyproject.toml setup.py constraints.txt
	@python=""; \
	for name in $(PYTHONS); do \
	  if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1; then \
	    python="$$name"; break; \
	  fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "error: no Python 3.12 or newer found (tried: $(PYTHONS))." >&2; \
	  echo "Install one, for example:" >&2; \
	  echo "  Debian, Ubuntu:  sudo apt install python3.12 python3.12-venv" >&2; \
	  echo "  Fedora:          sudo dnf install python3.12" >&2; \
	  echo "  macOS:           brew install python@3.12" >&2; \
	  echo "  pyenv:           pyenv install 3.12" >&2; \
	  echo "or name it: make install PYTHON=/path/to/python3.12" >&2; \
	  exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
	  echo "error: $$python lacks the venv module." >&2; \
	  echo "On Debian and Ubuntu install it with: sudo apt install python3-venv python3.12-venv" >&2; \
	  exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install -e '.[$(EXTRAS)]' -c constraints.txt $(PIP_ARGS)
	@touch $@

demo: $(STAMP) ## Train a small network on real digits, prune, distil, quantize, convert and measure it
	$(BIN)/edgekit run sample_models/digits_resnet/edgekit.toml -o $(DEMO_OUT)

test: $(STAMP) ## Run the tests, without the slow ones
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-all: $(STAMP) ## Run all tests, also the slow ones
	$(BIN)/python -m pytest -m "slow or not slow" $(PYTEST_ARGS)

lint: $(STAMP) ## Check style, formatting, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

clean: ## Remove what was built here: .venv, caches, demo output
	rm -rf $(VENV) build dist *.egg-info $(DEMO_OUT) out .edgekit sample_models/*/.edgekit sample_models/*/out
	rm -f .edgekit.history.sqlite* sample_models/*/.edgekit.history.sqlite*
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find edgekit targets tests sample_models -name __pycache__ -type d -prune -exec rm -rf {} +
