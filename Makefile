# make book [PROFILE=smoke|standard|gpu] [CLUSTER=slurm|gpus]
#                                          run the notebooks, build the book
# make pdf [PROFILE=...]                   the built book as one PDF, printed by Chromium
# make bench                               time the module against what else there is; for the page Performance
# make bundle [PROFILE=...]                pack what a profile's notebooks made: make book RESULTS=FILE renders it
# make sweep SWEEP=FILE.yaml [DRY=1] [RETRY=yes]
#                                          run a notebook at many parameters: a table, and a summary with plots
# make stability [PROFILE=...] [SEEDS="101 202"] [CLUSTER=...]
#                                          run the notebooks with other seeds too: which verdicts stand
# make check                               lint, format and types: ruff and mypy
# make test                                the fast tests; make test-all: the slow ones too
# make test-jax-versions [JAX_VERSIONS="0.6.0 0.8.2"] [PYTHON=python3.12]
#                                          infinite width on other releases of JAX, each in a new environment
# make test-mutants [MODULES="spectral scaling"] [EVERY=5]
#                                          plant small errors in the numeric modules: do their tests notice?
# make test-book [PROFILE=...]             every page of a built book in a real browser
# make test-colab [COLAB_PYTHON=python3.13] [NOTEBOOKS="quickstart hu2020/moments"]
#                                          notebooks alone, each in an empty folder, with the packages that Colab has
# make test-newest [NEWEST_PYTHONS="python3.12 python3.13"] [NOTEBOOKS=...]
#                                          the same with the newest JAX: a warning of what will break next
# make setup [PYTHON=python3.12]           the environment alone
# make lock                                compile requirements.in to requirements.txt
# make address URL=https://github.com/NAME/REPO
#                                          write the repository's address into every file that names it
# make clean                               remove the environment and everything built

PROFILE ?= standard
PYTHON ?= python3

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: book pdf bench bundle sweep stability check test test-all test-jax-versions test-mutants test-book test-colab test-newest setup a-gpu setup-gpu setup-slurm lock address clean

PROFILES := $(basename $(notdir $(wildcard pipeline/profiles/*.yaml)))
ifeq ($(filter $(PROFILE),$(PROFILES)),)
$(error unknown PROFILE "$(PROFILE)": expected one of $(PROFILES))
endif

# Only the environment made here may decide which code, kernels and settings are used.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONOPTIMIZE PYTEST_ADDOPTS SNAKEMAKE_PROFILE
unexport PIP_USER PIP_TARGET PIP_PREFIX MATPLOTLIBRC MPLBACKEND JAX_ENABLE_X64
unexport JUPYTER_PATH JUPYTER_CONFIG_PATH
export PYTHONNOUSERSITE := 1
export JUPYTER_PREFER_ENV_PATH := 1
export JUPYTER_CONFIG_DIR := $(CURDIR)/.venv/jupyter-config
export JUPYTER_DATA_DIR := $(CURDIR)/.venv/jupyter-data
export IPYTHONDIR := $(CURDIR)/.venv/ipython
export MPLCONFIGDIR := $(CURDIR)/.venv/matplotlib
# Compiling is half of most notebooks. What one run has compiled the next one reads; an environment that
# was moved, perhaps to another CPU, is made anew below and loses it.
export JAX_COMPILATION_CACHE_DIR := $(CURDIR)/.venv/jax-cache
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS := 0

VENV_PYTHON := .venv/bin/python
READY := .venv/ready
# An environment that was copied or moved still runs the code of its old place; and what it was made from is told by
# content, as everything that a build depends on.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR) $(shell cat requirements.txt pyproject.toml 2>/dev/null | cksum))
.PHONY: $(READY)
endif

# How the notebooks are run: here, or as a profile of Snakemake in pipeline/cluster says.
CLUSTERS := $(notdir $(patsubst %/,%,$(dir $(wildcard pipeline/cluster/*/config.yaml))))
ifneq ($(filter-out $(CLUSTERS),$(CLUSTER)),)
$(error unknown CLUSTER "$(CLUSTER)": expected one of $(CLUSTERS))
endif
SLURM := $(if $(CLUSTER),$(shell grep '^executor: slurm' pipeline/cluster/$(CLUSTER)/config.yaml))
# The book of the profile $(1), or $(2) of it; the name of a job of Slurm begins with the profile.
run = $(VENV_PYTHON) -m snakemake $(2) $(if $(CLUSTER),--workflow-profile pipeline/cluster/$(CLUSTER)) \
  $(if $(SLURM),--slurm-jobname-prefix $(1)) --config profile=$(1)

# With RESULTS, from a bundle: nothing runs. Its sources must be those here, unless OTHER_SOURCES=yes.
ifdef RESULTS
book: setup
	$(VENV_PYTHON) pipeline/build_book.py --bundle "$$RESULTS" $(if $(filter yes,$(OTHER_SOURCES)),--other-sources)
	@echo "The book: file://$(CURDIR)/_build/bundle/html/index.html"
else
book: $(if $(filter gpu,$(PROFILE)),a-gpu) setup $(if $(filter gpu,$(PROFILE)),setup-gpu) $(if $(SLURM),setup-slurm)
	$(call run,$(PROFILE))
	@echo "The book: file://$(CURDIR)/_build/$(PROFILE)/html/index.html"
endif

# The same notebooks with two other seeds, in _build/PROFILE-seed-101 and -202: do the verdicts stand?
SEEDS ?= 101 202
stability: setup $(if $(SLURM),setup-slurm)
	$(call run,$(PROFILE),runs)
	for seed in $(SEEDS); do \
	  $(call run,$(PROFILE)-seed-$$seed,runs) || exit 1; \
	done
	$(VENV_PYTHON) pipeline/stability.py $(PROFILE) $(SEEDS)

# A variable of the command line reaches the shell in its environment, where no quote can end it. With DRY, what would run.
sweep: setup
	@test -n "$$SWEEP" || { echo "which one? make sweep SWEEP=sweeps/kernel_gap.yaml" >&2; exit 1; }
ifdef DRY
	@$(VENV_PYTHON) pipeline/sweep.py "$$SWEEP" $(if $(filter yes,$(RETRY)),--retry)
else
	@$(VENV_PYTHON) -m snakemake --snakefile pipeline/sweep.smk --config sweep="$$SWEEP" retry=$(if $(filter yes,$(RETRY)),yes,no)
endif

# Of the book as it is built.
pdf: setup
	$(VENV_PYTHON) pipeline/pdf.py $(PROFILE)

bench: setup
	$(VENV_PYTHON) pipeline/bench.py _build/bench.json

bundle: setup
	$(VENV_PYTHON) pipeline/bundle.py $(PROFILE) _build/$(PROFILE)/earlytime-$(PROFILE).tar.gz

check: setup
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m ruff format --check
	$(VENV_PYTHON) -m mypy

# A file stays with one worker, which compiles once what its tests share.
PYTEST := $(VENV_PYTHON) -m pytest --doctest-modules src tests --numprocesses 2 --dist loadfile

# At these sizes compiling is nearly all of the time; test-all has XLA's optimizations, as the notebooks do.
test: setup
	XLA_FLAGS=--xla_backend_optimization_level=0 $(PYTEST) -m "not slow"

test-all: setup setup-slurm
	$(PYTEST)

# The oldest that pyproject.toml allows, one between, and the newest for Python 3.11.
JAX_VERSIONS ?= 0.6.0 0.8.2 0.10.2
test-jax-versions:
	@set -eu; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	for version in $(JAX_VERSIONS); do \
	  $(PYTHON) -m venv "$$tmp/$$version"; python="$$tmp/$$version/bin/python"; \
	  $$python -m pip install --quiet jax==$$version pytest -e .; \
	  $$python -m pip install --quiet --no-deps $$(grep -E '^(neural-tangents|frozendict)==' requirements.txt); \
	  echo "JAX $$version, $$($$python --version)"; \
	  $$python -m pytest --quiet tests/test_neural_tangents.py tests/test_affine_kernels.py; \
	done

# Of cosmic-ray only the part that changes a source is used, whose own needs the environment has already.
COSMIC_RAY := cosmic-ray==8.7.0
test-mutants: setup
	@set -eu; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	$(VENV_PYTHON) -m pip install --quiet --no-deps --target "$$tmp" $(COSMIC_RAY); \
	export PYTHONPATH="$$tmp" XLA_FLAGS=--xla_backend_optimization_level=0; \
	$(VENV_PYTHON) tests/mutants/run.py $(if $(EVERY),--every $(EVERY)) $(MODULES)

test-book: setup
	EARLYTIME_BOOK=_build/$(PROFILE)/html $(VENV_PYTHON) -m pytest tests/pages --numprocesses 2

COLAB_PYTHON ?= python3.13
test-colab: setup
	$(VENV_PYTHON) tests/colab/run_notebooks.py $(COLAB_PYTHON) $(NOTEBOOKS)

NEWEST_PYTHONS ?= python3.11 python3.12 python3.13
test-newest: setup
	for python in $(NEWEST_PYTHONS); do \
	  $(VENV_PYTHON) tests/colab/run_notebooks.py --newest $$python $(NOTEBOOKS) || exit 1; \
	done

setup: $(READY)

# The stamp is written last, so an interrupted installation is repeated.
$(READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, and $(PYTHON) is not: try make setup PYTHON=python3.12" >&2; exit 1; }
	@moved=$$(test "$$(head -n 1 $@ 2>/dev/null || pwd)" = "$$(pwd)" || echo --clear); \
	rm -f $@; $(PYTHON) -m venv $$moved .venv
	@echo "Installing the packages of requirements.txt, which takes a minute or two"
	$(VENV_PYTHON) -m pip install --quiet --no-deps -r requirements.txt
	$(VENV_PYTHON) -m pip install --quiet --no-deps --no-build-isolation -e .
	@{ pwd; cat requirements.txt pyproject.toml | cksum; } > $@
	@echo "The environment: .venv, $$($(VENV_PYTHON) --version)"

# Before anything is installed.
a-gpu:
	@sh pipeline/cuda.sh >/dev/null

# What the driver can run. A stamp for each, so that another driver brings its own.
setup-gpu: setup
	@cuda=$$(sh pipeline/cuda.sh) && $(MAKE) --no-print-directory .venv/ready-cuda$$cuda

.venv/ready-cuda%: requirements-cuda%.txt $(READY)
	rm -f $@
	$(VENV_PYTHON) -m pip install --quiet --no-deps -r $<
	touch $@

setup-slurm: setup .venv/ready-slurm

.venv/ready-slurm: requirements-slurm.txt $(READY)
	rm -f $@
	$(VENV_PYTHON) -m pip install --quiet --no-deps -r $<
	touch $@

# requirements-cuda12.txt, -cuda13.txt and -slurm.txt hold only what each adds to requirements.txt. An override whose marker never
# holds leaves a package out.
UV_COMPILE := uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
  --no-emit-index-url --no-annotate --no-header
lock:
	@set -eu; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	$(PYTHON) -m venv "$$tmp/venv"; "$$tmp/venv/bin/python" -m pip install --quiet uv; \
	export PATH="$$tmp/venv/bin:$$PATH"; \
	printf '%s ; python_version < "0"\n' tensorflow tf2jax > "$$tmp/left-out.txt"; \
	$(UV_COMPILE) requirements.in --override "$$tmp/left-out.txt" --output-file requirements.txt >/dev/null; \
	for more in 'cuda12 jax[cuda12]' 'cuda13 jax[cuda13]' 'slurm snakemake-executor-plugin-slurm'; do \
	  echo "$${more#* }" > "$$tmp/more.in"; file=requirements-$${more% *}.txt; \
	  $(UV_COMPILE) "$$tmp/more.in" --constraint requirements.txt > "$$tmp/more.txt"; \
	  { grep '^#' $$file; grep -vxFf requirements.txt "$$tmp/more.txt"; } > "$$tmp/new"; \
	  cp "$$tmp/new" $$file; \
	done

# A variable of the command line reaches the shell in its environment, where no quote can end it.
address: setup
	@$(VENV_PYTHON) pipeline/address.py "$$URL"

clean:
	rm -rf .venv _build .snakemake
