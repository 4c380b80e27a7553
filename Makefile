# Every target sets up .venv by itself and skips what is done.
PYTHON ?= python3
BIN := .venv/bin
# The tests that hold the coverage of the stages from terms to schedule (pyproject.toml says how much).
CORE := tests/control tests/syntax tests/manifest tests/stopping tests/schedule tests/test_problems.py tests/store/test_facts.py \
	tests/engine/test_messages.py tests/app/test_brackets.py tests/app/test_oom.py tests/search tests/app/test_searching.py

INSTALL := $(BIN)/uv pip install -q --python $(BIN)/python --compile-bytecode -c constraints.txt
# uv does not read pip's settings: these say where packages lie, and that the best version of all indexes counts.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export UV_INDEX_URL ?= $(PIP_INDEX_URL)
export UV_EXTRA_INDEX_URL ?= $(PIP_EXTRA_INDEX_URL)
export UV_INDEX_STRATEGY ?= unsafe-best-match

.PHONY: web page demo test check style types layers golden gpu bench campaign clean docs picture setup

demo: .venv/.demo  ## train the digits experiment, side by side, with a live table
	$(BIN)/rapidfire fit configs/digits.yaml

test: export PYTHONDONTWRITEBYTECODE :=  # else each process would rewrite every assertion again
test: .venv/.dev page  ## the tests, with a short seeded share of the long ones; the core's branch coverage
	$(BIN)/python -m pytest -m "not campaign and not gpu" -n 2 --dist loadscope --cov=rapidfire_cli --cov=tests $(CORE)
	$(BIN)/python -m tests.reached
	$(BIN)/python -m pytest -m "not campaign and not gpu" -n 2 --dist loadscope --no-loadscope-reorder $(CORE:%=--ignore=%)

check: .venv/.dev  ## format, lint, types, layers
	@$(MAKE) --no-print-directory -j 2 -O types style layers

style:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types:
	$(BIN)/mypy

layers:
	$(BIN)/lint-imports

golden: .venv/.dev  ## rewrite the golden files from what the code says now
	RAPIDFIRE_GOLDEN=write $(BIN)/python -m pytest -m "not campaign" tests -k 'golden or catalogue'

gpu: .venv/.dev  ## what only a GPU can show, on the first one, in at most 8 minutes; without one it says so
	timeout 480 $(BIN)/python -m pytest tests/gpu -m gpu -rP -p no:xdist --timeout=240

bench: .venv/.bench  ## the figures of the README
	$(BIN)/python -m bench.sweep
	$(BIN)/python -m bench.sha
	$(BIN)/python -m bench.search --seeds 5
	$(BIN)/python -m bench.real --rounds 2
	$(BIN)/python -m bench.ray
	$(BIN)/python -m bench.data
	$(BIN)/python -m bench.expand

campaign: .venv/.dev  ## the long campaigns, whole, going on where they were left; writes docs/reliability-report.md
	$(BIN)/python -m tests.campaign
	$(BIN)/python -m pytest -p tests.campaign.kept -m campaign -n 4 --timeout=0 || true
	RAPIDFIRE_TESTS=whole $(BIN)/python -m pytest -p tests.campaign.kept -m "not campaign" -n 2 --dist loadscope --timeout=0 || true
	$(BIN)/python -m tests.campaign report

docs: .venv/.docs  ## build the documentation as a site in build/site; a broken link is an error
	$(BIN)/zensical build --clean --strict

web: web/node_modules  ## build the page of `rapidfire web`, `report` and `panel()`; needs Node
	cd web && npx tsc --noEmit && node build.mjs

page:  # where it cannot be built, its tests are skipped and say so
	@if command -v npm > /dev/null; then $(MAKE) --no-print-directory web || echo "the page was not built"; \
	else echo "no Node: the page was not built"; fi

web/node_modules: web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	touch $@

picture: .venv/.dev web  ## renew the README's pictures from a real run; needs Node and Chromium
	$(BIN)/python -m bench.picture

setup: .venv/.dev

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.base: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt uv
	$(INSTALL) torch
	$(INSTALL) -e .
	touch $@

.venv/.demo: .venv/.base
	$(INSTALL) -e '.[demo]'
	touch $@

.venv/.dev: .venv/.base
	$(INSTALL) -e '.[demo,dev]'
	touch $@

.venv/.bench: .venv/.dev
	$(INSTALL) -e '.[bench]'
	touch $@

.venv/.docs: .venv/.base
	$(INSTALL) -e '.[docs]'
	touch $@

clean:
	rm -rf .venv build dist rapidfire_experiments .mypy_cache .ruff_cache .pytest_cache .hypothesis
