# `make report` and `make test` set up everything they need; `make help` lists the rest.

PYTHON ?= python3
# What is installed goes there; make touches no folder that it has not made.
VENV ?= .venv
bin := $(VENV)/bin
# QUICK=1: fewer seeds and epochs, in a folder of its own (see report/files.py).
quick := $(filter-out 0,$(QUICK))

.PHONY: help report supplement all test lab browser moving strip data bench peers robust reference sabotage mutation lint \
  format lock clean
.DELETE_ON_ERROR:
.SUFFIXES:

# Goals run one after another, and what they build is built by a make of its own: it
# sees the folder as the goals before have left it, and waits while another is at work.
ifndef inner
.NOTPARALLEL:
endif
jobs = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,--jobs=2)
alone = $(with_python) $(PYTHON) typeset/lock.py
build = $(alone) $(MAKE) --no-print-directory $(jobs) inner=yes
setup = +@$(MAKE) --no-print-directory --question $(1) || { $(build) --silent $(1); }

help:  ## list the targets (the default)
	@sed -n 's/^\([a-z]*\): *[^#]*## \(.*\)/  make \1	\2/p' Makefile

report:  ## execute the notebooks that changed, write report.pdf (QUICK=1: a short try)
	+@$(build) $(report)

supplement:  ## the same for notebooks/supplement/ and supplement.pdf
	+@$(build) $(supplement)

all:  ## both documents
	+@$(build) $(report) $(supplement)

test:  ## run the tests
	$(call setup,$(VENV)/.installed-tests)
	@$(bin)/python -m pytest

lab:  ## open JupyterLab on the notebooks
	$(call setup,$(VENV)/.installed)
	@$(bin)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) \
	  --LabApp.default_url=/lab/tree/notebooks/1_softmax_gradient_test.ipynb \
	  --LabApp.extension_manager=readonly --LabApp.news_url=None \
	  --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate \
	  --ServerApp.contents_manager_class=playground.lab.Contents \
	  --KernelManager.transport_encryption=auto

browser:  ## run the notebooks and the playground in Chromium, leave screenshots
	$(call setup,$(VENV)/.installed)
	@$(bin)/python tests/browser.py

moving:  ## train a network and make the README's moving picture of it
	$(call setup,$(VENV)/.installed)
	@$(bin)/python -m playground.moving

strip:  ## clear the notebooks' outputs, as they are committed
	$(call setup,$(VENV)/.installed)
	@$(bin)/python -m typeset.strip

data:  ## draw the three datasets again (never over your own files)
	$(call setup,$(VENV)/.installed)
	@$(bin)/python -m data.recipes

bench:  ## time training beside its peers (QUICK=1: a short try)
	$(call setup,$(VENV)/.installed)
	@KEEP_FIGURES=1 $(bin)/python -m benchmarks

peers:  ## install the peers of the benchmark
	$(call setup,$(VENV)/.installed)
	@$(install) --requirement benchmarks/requirements.txt || $(offline)

robust:  ## compare the verdicts under imitated processors (QUICK=1: a short try)
	$(call setup,$(VENV)/.installed)
	@$(alone) $(bin)/python tests/robust.py

reference:  ## take the README's table from the figures of a full report
	$(call setup,$(VENV)/.installed)
	@$(bin)/python tests/reference.py

sabotage:  ## break the code by a line per threshold, see it noticed
	$(call setup,$(VENV)/.installed)
	@$(bin)/python tests/sabotage.py

mutation:  ## break each line in every way, count what the tests see
	$(call setup,$(VENV)/.installed-mutation)
	@rm -rf mutants
	@OMP_NUM_THREADS=1 $(bin)/mutmut run --max-children 2
	@$(bin)/python tests/mutation/score.py

lint:  ## check style and formatting
	$(call setup,$(VENV)/.installed-tests)
	@$(bin)/ruff check --quiet . && $(bin)/ruff format --quiet --check . \
	  && echo "no lint"

format:  ## format the code and mend what ruff can mend
	$(call setup,$(VENV)/.installed-tests)
	@$(bin)/ruff check --quiet --fix . ; $(bin)/ruff format --quiet .

lock:  ## resolve the requirements into lock files again
	$(call setup,$(VENV)/.installed-tests)
	@for folder in . tests tests/mutation; do \
	  $(bin)/uv pip compile --quiet --universal --python-version 3.11 \
	    --fork-strategy fewest --generate-hashes --no-header --upgrade \
	    $$folder/requirements.txt --output-file $$folder/requirements.lock \
	    || exit 1; \
	done

clean:  ## remove what was built, except both PDFs, figures/ and .venv
	@$(alone) rm -rf build mutants .pytest_cache .ruff_cache .hypothesis
	@find $(wildcard data engine helpers playground report tests typeset benchmarks) -name __pycache__ -prune -exec rm -rf {} +

# The environment -------------------------------------------------------------------

install = $(bin)/python -m pip --disable-pip-version-check install --quiet
offline = { echo "make: packages could not be installed: is the package index within \
	reach? (pip's own words are above)" >&2; exit 1; }

with_python = command -v $(PYTHON) >/dev/null || { echo "make: there is no $(PYTHON): \
	install Python 3.11 or newer, or name one with make PYTHON=..." >&2; exit 1; };

$(VENV)/.installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: \
	Python 3.11 or newer is needed, $(PYTHON) is `$(PYTHON) --version 2>&1`: name a newer \
	one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) lacks \
	the module venv: install it (on Debian and Ubuntu the package python3-venv)" >&2; \
	exit 1; }
	@[ ! -L $(VENV) ] && { [ ! -e $(VENV) ] || [ -f $(VENV)/.made ] || [ -f $@ ]; } || { \
	echo "make: $(VENV) is not of make's making, and is left alone: move it away, or name \
	another folder with make VENV=..." >&2; exit 1; }
	@echo "setting up $(VENV) (once)"
	@rm -rf $(VENV) && mkdir $(VENV) && touch $(VENV)/.made && $(PYTHON) -m venv $(VENV)
	@$(install) --require-hashes --requirement requirements.lock || $(offline)
	@$(install) --no-index --no-deps --no-build-isolation --editable .
	@mkdir -p $(VENV)/etc/jupyter/labconfig && echo '{"disabledExtensions": \
	  {"@jupyterlab/apputils-extension:announcements": true}}' \
	  >$(VENV)/etc/jupyter/labconfig/page_config.json
	@touch $@

$(VENV)/.installed-tests: tests/requirements.lock
$(VENV)/.installed-mutation: tests/mutation/requirements.lock $(VENV)/.installed-tests
$(VENV)/.installed-%: $(VENV)/.installed
	@$(install) --require-hashes --requirement $(filter %.lock,$^) || $(offline)
	@touch $@

# The report and its supplement ------------------------------------------------------

built := build$(if $(quick),/quick)
figures := $(if $(quick),$(built)/)figures
report := $(if $(quick),$(built)/)report.pdf
supplement := $(if $(quick),$(built)/)supplement.pdf
chapters := $(sort $(wildcard notebooks/[0-9]*.ipynb))
extra := $(sort $(wildcard notebooks/supplement/*.ipynb))
executed = $(patsubst notebooks/%,$(built)/executed/%,$(1))
typeset = $(patsubst notebooks/%.ipynb,$(built)/chapters/%.typ,$(1))

# What a notebook may import, and what turns it, executed, into pages.
typesetting := $(filter-out %execute.py %lock.py %strip.py,$(wildcard typeset/*.*))
imported := typeset/execute.py $(wildcard report/*.* playground/*.py helpers/*.py \
  helpers/backstage/*.py data/*.py engine/*.py)

# Notebook 6 reads what notebook 5 hands over; where that is lost, 5 is executed again.
# The supplement goes on from the chapters.
giving := $(built)/executed/5_five_architectures.ipynb
$(built)/executed/6_200_samples.ipynb: $(giving)
$(call executed,$(extra)): $(call executed,$(chapters))
handed := $(addprefix $(figures)/,five_seeds.csv)

ifdef inner
strange := $(shell ls notebooks notebooks/supplement | grep '[^A-Za-z0-9._/:-]')
$(if $(strange),$(error notebooks: rename $(strange): letters, digits, ., _ and - only))
$(if $(filter-out $(wildcard $(handed)),$(handed)),$(shell rm -f $(giving)))

# Data counts by content: a file that is moved into data/ keeps an old date.
$(shell mkdir -p build; cksum data/*.mat data/*.csv >build/data.new 2>&1; \
  cmp -s build/data.new build/data.sum || mv build/data.new build/data.sum)
endif

$(built)/executed/%.ipynb: notebooks/%.ipynb $(VENV)/.installed $(imported) build/data.sum
	@echo "executing $<"
	@$(bin)/jupyter nbconvert --log-level=ERROR --to typeset.execute.Executed \
	  --KernelManager.transport_encryption=auto \
	  --output-dir $(built)/part/$(*D) $<
	@mkdir -p $(@D) && mv $(built)/part/$*.ipynb $@

$(built)/chapters/%.typ: $(built)/executed/%.ipynb $(typesetting)
	@$(bin)/jupyter nbconvert --log-level=ERROR --to typeset.exporter.TypstExporter \
	  --output-dir $(@D) $<

# The longest notebook comes first, so that the others run beside it.
$(report): $(giving) $(call typeset,$(chapters)) typeset/report.typ
	@$(bin)/python -m typeset $@ $(call typeset,$(chapters))
	@echo "wrote $@"

$(built)/executed/supplement/5_speed.ipynb: $(wildcard figures/benchmark*)

$(supplement): $(call typeset,$(chapters) $(extra)) typeset/report.typ
	@$(bin)/python -m typeset $@ $(call typeset,$(chapters) $(extra))
	@echo "wrote $@"

.PRECIOUS: $(built)/executed/%.ipynb $(built)/chapters/%.typ
