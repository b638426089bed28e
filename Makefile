# `make report` and `make test` set up everything they need; `make help` lists the rest.

PYTHON ?= python3
# What is installed goes there; make touches no folder that it has not made.
VENV ?= .venv
$(if $(word 2,$(VENV)),$(error VENV=$(VENV): name a folder without blanks))
bin := $(VENV)/bin
# Programs are run by the environment's Python and import from the folder make stands in,
# so that a folder can be moved or copied, and two can share an environment.
python := $(bin)/python
ifeq ($(VENV),.venv)
unexport PROJECT
else
export PROJECT := $(CURDIR)
endif
# A user's own settings are for his JupyterLab, which `browser` starts as he does: builds
# and tests have theirs.
unexport PYTHONPATH PYTHONSTARTUP PYTHONHOME
ifeq ($(filter lab browser,$(MAKECMDGOALS)),)
unexport MPLBACKEND MATPLOTLIBRC
export JUPYTER_NO_CONFIG := 1
export JUPYTER_RUNTIME_DIR := $(CURDIR)/build/settings/runtime
export IPYTHONDIR := $(CURDIR)/build/settings/ipython
export MPLCONFIGDIR := $(abspath $(VENV))/matplotlib
endif
# QUICK=1: fewer seeds and epochs, in a folder of its own (see report/files.py).
quick := $(filter-out 0,$(QUICK))

.DEFAULT_GOAL := help
.PHONY: report supplement all html test lab help lint browser robust sabotage fuzz mutation \
  bench format strip clean data moving reference peers lock
.DELETE_ON_ERROR:
.SUFFIXES:

# Goals run one after another, and what they build is built by a make of its own: it
# sees the folder as the goals before have left it, and waits while another is at work.
ifndef inner
.NOTPARALLEL:
endif
jobs = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,--jobs=2)
alone = $(with_python) $(PYTHON) typeset/lock.py
build = $(alone) $(PYTHON) typeset/watch.py $(MAKE) --no-print-directory $(jobs) inner=yes
setup = +@$(MAKE) --no-print-directory --question $(1) || { $(build) --silent $(1); }

##@ Every day

report:  ## execute what changed, write report.pdf (4 min, then as needed; QUICK=1: 1 min)
	+@$(build) $(report)

supplement:  ## go on to supplement.pdf (3 min more; QUICK=1: 1 min)
	+@$(build) $(supplement)

all:  ## both documents (7 min)
	+@$(build) $(report) $(supplement)

html:  ## the chapters as pages for screens, in build/html (4 min, after a report 10 s)
	+@$(build) $(web)

test:  ## run the tests (3 min)
	$(call setup,$(VENV)/.installed-tests)
	@$(python) -m pytest

lab:  ## open JupyterLab on the notebooks (at once; LAB=... passes options on)
	$(call setup,$(VENV)/.installed)
	@$(python) -m jupyterlab $(if $(filter 0,$(shell id -u)),--allow-root) \
	  --LabApp.default_url=/lab/tree/notebooks/1_softmax_gradient_test.ipynb \
	  --LabApp.extension_manager=readonly --LabApp.news_url=None \
	  --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate \
	  --ServerApp.contents_manager_class=playground.lab.Contents \
	  --KernelManager.transport_encryption=auto $(LAB)

help:  ## this list (the default)
	@awk -F ':  ## ' '/^##@/ {print "\n" substr($$0, 5)} \
	  /^[a-z]+:  ## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

##@ Checking

lint:  ## check style and formatting (2 s)
	$(call setup,$(VENV)/.installed-tests)
	@$(bin)/ruff check --quiet . && $(bin)/ruff format --quiet --check . \
	  && echo "no lint"

browser:  ## do in Chromium what a student does, leave screenshots (5 min)
	$(call setup,$(VENV)/.installed)
	@$(python) tests/browser.py

robust:  ## compare everything under imitated processors (1 h; QUICK=1: 5 min)
	$(call setup,$(VENV)/.installed)
	@$(alone) $(python) tests/robust.py

sabotage:  ## break the code by a line per threshold, see it noticed (1 min)
	$(call setup,$(VENV)/.installed)
	@$(python) tests/sabotage.py

fuzz:  ## compose ten thousand layers, train each by the engine and by NumPy (20 min)
	$(call setup,$(VENV)/.installed-tests)
	@EXAMPLES=10000 $(python) -m pytest tests/test_fuzz.py --capture=no

mutation:  ## break each line in every way, count what the tests see (25 min)
	$(call setup,$(VENV)/.installed-mutation)
	@rm -rf mutants
	@OMP_NUM_THREADS=1 $(python) -m mutmut run --max-children 2
	@$(python) tests/mutation/score.py

bench:  ## time training beside its peers (6 min; QUICK=1: 2 min)
	$(call setup,$(VENV)/.installed)
	@KEEP_FIGURES=1 $(python) -m benchmarks

##@ For those who change it

format:  ## format the code, mend what ruff can mend (1 s)
	$(call setup,$(VENV)/.installed-tests)
	@$(bin)/ruff check --quiet --fix . ; $(bin)/ruff format --quiet .

strip:  ## clear the notebooks' outputs, as they are committed (1 s)
	$(call setup,$(VENV)/.installed)
	@$(python) -m typeset.strip

clean:  ## remove what was built, except both PDFs, figures/ and .venv (1 s)
	@$(alone) rm -rf build mutants .pytest_cache .ruff_cache .hypothesis
	@find $(wildcard data engine helpers playground report tests typeset benchmarks) -name __pycache__ -prune -exec rm -rf {} +

data:  ## draw the three datasets again, never over your own files (2 s)
	$(call setup,$(VENV)/.installed)
	@$(python) -m data.recipes

moving:  ## make README's moving picture (10 s)
	$(call setup,$(VENV)/.installed)
	@$(python) -m playground.moving

reference:  ## take README's table and page one from a full report (2 s)
	$(call setup,$(VENV)/.installed-tests)
	@$(python) tests/reference.py

peers:  ## install the peers of the benchmark, more than a gigabyte (5 min)
	$(call setup,$(VENV)/.installed)
	@$(install) --require-hashes --requirement benchmarks/requirements.lock || $(offline)

lock:  ## resolve the requirements into lock files again (10 s)
	$(call setup,$(VENV)/.installed-tests)
	@for name in requirements requirements-cluster tests/requirements \
	    tests/mutation/requirements benchmarks/requirements; do \
	  $(bin)/uv pip compile --quiet --universal --python-version 3.11 \
	    --fork-strategy fewest --generate-hashes --no-header --upgrade \
	    $$name.txt --output-file $$name.lock || exit 1; \
	done

# The environment -------------------------------------------------------------------

install = $(python) -m pip --disable-pip-version-check install --quiet
offline = { echo "make: packages could not be installed: is the package index within \
	reach, and room on the disk? (pip's own words are above)" >&2; exit 1; }

with_python = command -v $(PYTHON) >/dev/null || { echo "make: there is no $(PYTHON): \
	install Python 3.11 or newer, or name one with make PYTHON=..." >&2; exit 1; };

$(VENV)/.installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: \
	Python 3.11 or newer is needed, $(PYTHON) is `$(PYTHON) --version 2>&1`: name a newer \
	one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) lacks \
	the module venv: install it (on Debian and Ubuntu the package python3-venv)" >&2; \
	exit 1; }
	@[ ! -L $(VENV) ] && { [ ! -e $(VENV) ] || [ -f $(VENV)/.made ] || [ -f $@ ] \
	|| rmdir $(VENV) 2>/dev/null; } || { \
	echo "make: $(VENV) is not of make's making, and is left alone: move it away, or name \
	another folder with make VENV=..." >&2; exit 1; }
	@echo "setting up $(VENV) (once)"
	@mkdir -p $(VENV) && touch $(VENV)/.made && rm -rf $(VENV)/.installed* $(VENV)/* \
	  && $(PYTHON) -m venv $(VENV)
	@$(install) --require-hashes --requirement requirements.lock || $(offline)
	@$(python) -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), \
	  "project.pth").write_text("import os, sys; sys.path.insert(0, os.environ.get(" \
	  "\"PROJECT\") or os.path.dirname(sys.prefix))\n")'
	@MPLCONFIGDIR=$(VENV)/matplotlib $(python) -c 'import matplotlib.font_manager'
	@mkdir -p $(VENV)/etc/jupyter/labconfig
	@echo '{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}' \
	  >$(VENV)/etc/jupyter/labconfig/page_config.json
	@touch $@

$(VENV)/.installed-tests: tests/requirements.lock
$(VENV)/.installed-mutation: tests/mutation/requirements.lock $(VENV)/.installed-tests
# Where it was stopped, packages may be there in part.
$(VENV)/.installed-%: $(VENV)/.installed
	@again=`ls $@.part 2>/dev/null`; touch $@.part && $(install) --require-hashes \
	  $${again:+--force-reinstall} --requirement $(filter %.lock,$^) || $(offline)
	@mv $@.part $@

# The report and its supplement ------------------------------------------------------

built := build$(if $(quick),/quick)
figures := $(if $(quick),$(built)/)figures
report := $(if $(quick),$(built)/)report.pdf
supplement := $(if $(quick),$(built)/)supplement.pdf
chapters := $(sort $(wildcard notebooks/[0-9]*.ipynb))
extra := $(sort $(wildcard notebooks/supplement/*.ipynb))
web := $(patsubst notebooks/%.ipynb,$(built)/html/%.html,$(chapters))
executed = $(patsubst notebooks/%,$(built)/executed/%,$(1))
typeset = $(patsubst notebooks/%.ipynb,$(built)/chapters/%.typ,$(1))

# What a notebook may import, and what turns it, executed, into pages.
typesetting := $(filter-out %execute.py %lock.py %strip.py %watch.py %web.py,$(wildcard typeset/*.*))
imported := typeset/execute.py $(wildcard report/*.* playground/*.py helpers/*.py \
  helpers/backstage/*.py data/*.py engine/*.py)

# Notebook 6 reads what notebook 5 hands over; where that is lost, 5 is executed again.
# The supplement goes on from the chapters.
giving := $(built)/executed/5_five_architectures.ipynb
$(built)/executed/6_200_samples.ipynb: $(giving)
$(call executed,$(extra)): $(call executed,$(chapters))
handed := $(addprefix $(figures)/,five_seeds.csv)

ifdef inner
$(if $(shell mkdir -p build 2>/dev/null && [ -w build ] || echo no),$(error $(CURDIR)/build \
  cannot be written: build in a copy of this folder that is yours))
strange := $(shell ls notebooks notebooks/supplement | grep '[^A-Za-z0-9._/:-]')
$(if $(strange),$(error notebooks: rename $(strange): letters, digits, ., _ and - only))
$(if $(filter-out $(wildcard $(handed)),$(handed)),$(shell rm -f $(giving)))
$(shell $(PYTHON) typeset/lost.py $(built))

# Data counts by content: a file that is moved into data/ keeps an old date.
$(shell mkdir -p build/settings; cksum data/*.mat data/*.csv >build/data.new 2>&1; \
  cmp -s build/data.new build/data.sum || mv build/data.new build/data.sum)
endif

$(built)/executed/%.ipynb: notebooks/%.ipynb $(VENV)/.installed $(imported) build/data.sum
	@$(python) -m nbconvert --log-level=ERROR --to typeset.execute.Executed \
	  --KernelManager.transport_encryption=auto \
	  --output-dir $(built)/part/$(*D) $<
	@mkdir -p $(@D) && mv $(built)/part/$*.ipynb $@

$(built)/chapters/%.typ: $(built)/executed/%.ipynb $(typesetting)
	@$(python) -m nbconvert --log-level=ERROR --to typeset.exporter.TypstExporter \
	  --output-dir $(@D) $<

$(built)/html/%.html: $(built)/executed/%.ipynb typeset/web.py
	@$(python) -m nbconvert --log-level=ERROR --to typeset.web.Page \
	  --output-dir $(@D) $<

# The longest notebook comes first, so that the others run beside it.
$(report): $(giving) $(call typeset,$(chapters)) typeset/report.typ
	@$(python) -m typeset $@ $(call typeset,$(chapters))

$(built)/executed/supplement/5_speed.ipynb: $(wildcard figures/benchmark*)

$(supplement): $(call typeset,$(chapters) $(extra)) typeset/report.typ
	@$(python) -m typeset $@ $(call typeset,$(chapters) $(extra))

.PRECIOUS: $(built)/executed/%.ipynb $(built)/chapters/%.typ
