# make demo    the whole line on a synthetic study set: embedded PACS, C-MOVE, dataset, report
# make test    the tests, two files of them at a time; make test WORKERS= for one after the other
# make bench   speed against dcm2niix: half an hour; make bench BENCH="session ct --rounds 1" for some
# make bench-retrieval   speed of pulls against dcmtk, from Orthanc: a quarter of an hour, as root
# make bench-edit   speed after an edit of a heuristic, 100 sessions: converted once, for a quarter of an hour
# make site    the pages of docs/ as a static site in site/: open site/index.html
# make bench-scale  a thousand sessions, when there is little or nothing to do: made once, for a quarter of an hour
# make         only set up: a virtual environment in .venv with everything that requirements.lock names
#
# Nothing is written outside this folder. Needs Python 3.11 or newer and one of: uv, python3-venv, pip.

PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,\
	$(shell $(name) -c 'import sys; sys.version_info >= (3, 11) and print(sys.executable)' 2>/dev/null)))
INSTALLED := .venv/.installed
export UV_CACHE_DIR ?= $(CURDIR)/.tooling/uv-cache
export PIP_CACHE_DIR ?= $(CURDIR)/.tooling/pip-cache
# of Snakemake and the validator, which otherwise want a home that can be written
export XDG_CACHE_HOME ?= $(CURDIR)/.tooling/cache
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# the certificates of this machine, as pip has them: hospitals put their own there
export UV_SYSTEM_CERTS := 1
export UV_NATIVE_TLS := 1
LOCKED := --no-deps --require-hashes -r requirements.lock
# whole files, so that what a file sets up is set up once; in our order: the cheap ones first
WORKERS ?= --numprocesses 2 --dist loadfile --no-loadscope-reorder
OURSELVES := --no-deps --no-build-isolation --editable .

.PHONY: install demo test bench bench-retrieval bench-edit bench-scale lint site clean
install: $(INSTALLED)
	@echo "Ready. Next: source .venv/bin/activate"

demo: $(INSTALLED)
	@.venv/bin/python -m pacs2bids demo

test: $(INSTALLED)
	@.venv/bin/python -m pytest $(WORKERS) $(TESTS)

bench: $(INSTALLED)
	@.venv/bin/python -m tests.benchmarks $(BENCH)

bench-retrieval: $(INSTALLED)
	@PYTHONPATH=tests .venv/bin/python -m tests.benchmarks.retrieval $(BENCH)

bench-edit: $(INSTALLED)
	@.venv/bin/python -m tests.benchmarks.edit $(BENCH)

bench-scale: $(INSTALLED)
	@.venv/bin/python -m tests.benchmarks.scale $(BENCH)

lint: $(INSTALLED)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/snakefmt --check --compact-diff Snakefile workflow/rules

site: $(INSTALLED)
	@.venv/bin/mkdocs build --strict --quiet
	@echo "The pages: site/index.html"

clean:
	rm -rf .venv .tooling demo site

# uv is fastest; else a virtual environment with its own pip; else (Debian without python3-venv has no
# ensurepip) a bare one that the system's pip fills
$(INSTALLED): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "ERROR: no Python 3.11 or newer on PATH: install one (Debian 12, Ubuntu" \
	         "24.04: apt install python3-venv), or say make PYTHON=..."; exit 1; }
	@.venv/bin/python -c '' 2>/dev/null || rm -rf .venv
	@set -e; \
	if uv --version >/dev/null 2>&1; then \
	    test -d .venv || uv venv --quiet --no-python-downloads --python "$(PYTHON)" .venv; \
	    pip="uv pip install --quiet --python .venv/bin/python"; \
	elif "$(PYTHON)" -c 'import ensurepip' 2>/dev/null; then \
	    test -x .venv/bin/pip || "$(PYTHON)" -m venv .venv; \
	    pip=".venv/bin/python -m pip install --quiet --use-pep517"; \
	elif "$(PYTHON)" -m pip --version >/dev/null 2>&1; then \
	    test -d .venv || "$(PYTHON)" -m venv --without-pip .venv; \
	    pip="$(PYTHON) -m pip --python .venv/bin/python install --quiet --use-pep517"; \
	else \
	    echo "ERROR: neither uv nor python3-venv nor pip is there. On Debian or Ubuntu, once:" \
	         "apt install python3-venv"; \
	    exit 1; \
	fi; \
	echo "Installing into .venv (half a minute with uv, two minutes with pip) ..."; \
	$$pip $(LOCKED); \
	$$pip $(OURSELVES)
	@touch $@
