# The project's commands; `make help` lists them. Those that need the environment in .venv make it first, and again
# only when pyproject.toml or constraints.txt changes. Nothing else needs the network.

PYTHON ?= python3
PORT ?= 8888

BIN := .venv/bin
INSTALLED := .venv/.installed
UV := $(shell command -v uv)

# The published library has an environment of its own, with the same JAX.
PEER := .cache/peer/.installed

# On a machine without a screen Jupyter would start a text browser and take the terminal away.
SCREEN := $(filter Darwin,$(shell uname))$(DISPLAY)$(WAYLAND_DISPLAY)

# Those with a JSON file beside them train for longer with FULL=1, and store there what they reach.
NOTEBOOKS = $(wildcard tutorials/*.ipynb notebooks/*.ipynb)
TRAINED = $(patsubst %.json,%.ipynb,$(wildcard notebooks/*.json))

.DEFAULT_GOAL := help
.PHONY: help lab test browser lint format notebooks full student mutants bench figures docs constraints clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

lab: $(INSTALLED)  ## open the course in JupyterLab (PORT=8888, or the next free one)
	$(BIN)/python -m jupyterlab --allow-root --port=$(PORT) --LabApp.default_url=/lab/tree/tutorials \
	  $(if $(SCREEN),,--no-browser)

test: lint  ## check style and types, then run every test, doctest and notebook
	$(BIN)/pytest -n logical --maxprocesses=4 --dist loadscope

browser: $(INSTALLED)  ## run every notebook in JupyterLab in a browser, and print how long each takes
	BROWSER_RUNS=all $(BIN)/pytest tests/browser/test_every_notebook.py --durations=0 -v

lint: $(INSTALLED)  ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

format: $(INSTALLED)  ## mend the style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

notebooks: $(INSTALLED)  ## execute every notebook in place, and write docs/run_times.md
	JAX_PLATFORMS=cpu $(BIN)/python scripts/execute_notebooks.py --times docs/run_times.md $(NOTEBOOKS)

full: $(INSTALLED)  ## repeat the long trainings of notebooks, which store results (NOTEBOOK=..., or all)
	FULL=1 JAX_PLATFORMS=cpu $(BIN)/python scripts/execute_notebooks.py $(or $(NOTEBOOK),$(TRAINED))

student: $(INSTALLED)  ## write the lessons without solutions to the folder student
	$(BIN)/python scripts/student_copy.py student

mutants: $(INSTALLED)  ## falsify stored outputs of the notebooks and count what the tests catch
	$(BIN)/python scripts/mutate_notebooks.py

bench: $(INSTALLED) $(PEER)  ## measure beside the published library on the CPU, and draw it; some fifteen minutes
	$(BIN)/python benchmarks/cpu.py .cache/peer/bin/python

figures: $(INSTALLED)  ## draw the pictures of the README and the docs again
	JAX_PLATFORMS=cpu $(BIN)/python docs/figures.py

docs: $(INSTALLED)  ## write the page of all layers again
	JAX_PLATFORMS=cpu $(BIN)/python docs/layers.py

constraints: $(INSTALLED)  ## record the installed versions as the tested ones
	$(BIN)/python scripts/record_constraints.py > constraints.txt
	@touch $(INSTALLED)

clean:  ## remove caches and build outputs (the environment stays: remove .venv by hand)
	rm -rf .cache .hypothesis .pytest_cache .ruff_cache build dist
	find . -name .venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -exec rm -rf {} +

# Installed packages are compiled to bytecode here, or each process compiles them again on machines that set
# PYTHONDONTWRITEBYTECODE: `import jax, flax` is then four times slower.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'This needs Python 3.11 or newer, which "$(PYTHON)" is not. Name one: make PYTHON=python3.12 ...' >&2; exit 1; }
ifdef UV
	test -x $(BIN)/python || uv venv --python $(PYTHON) .venv
	uv pip install --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[test]'
else
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --compile -c constraints.txt -e '.[test]'
endif
	@touch $@

$(PEER): constraints.txt
	$(PYTHON) -m venv .cache/peer
	grep -E '^(jax|jaxlib|flax)==' constraints.txt > .cache/peer/same.txt
	.cache/peer/bin/python -m pip install --compile -c .cache/peer/same.txt sequence-layers==0.2 jax flax
	@touch $@
