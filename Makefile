# ChatCluster. `make help` lists the targets; CONTRIBUTING.md explains them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# Where the machine sets it, each of the processes that tests start would compile all that it imports: 1.5 s of CPU.
unexport PYTHONDONTWRITEBYTECODE

NAME ?= default
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/chatcluster
UV ?= $(shell command -v uv || echo $(CACHE)/uv/bin/uv)
# The Python of the images, or the nearest that can be had; looked for once, when the first command needs it.
UV_PYTHON ?= $(eval UV_PYTHON := $$(shell .ci/python $(UV)))$(UV_PYTHON)
RUN = UV_PYTHON=$(UV_PYTHON) $(UV) run --frozen --all-extras
UNIT = -m "not integration and not e2e and not soak"
# The first that the project supports: requires-python. On it runs what users may run on a Python of their own.
OLDEST = 3.11
OLDEST_TESTS = tests/chatserver tests/client tests/kubectl_chatcluster tests/localcluster tests/operator
# The folders of the other lanes: each process collects all that it is given, and all tests take it 20 s of CPU.
INTEGRATION = tests/integration tests/soak
E2E = tests/e2e tests/localcluster
# Where the compiled wheel is installed, and the tests that run on it: of what is compiled, and of what uses it.
COMPILED = .local/compiled
COMPILED_UNIT = bounds checks compiled following frame_fuzzing hub limits metrics_page moving newest other_batches own_batches pending_rows protocol_document proxies receipts session shared_limits supervision watches websocket_conformance write_coalescing writer
COMPILED_INTEGRATION = messages delivery receipts connections interleavings outages polling
COMPILED_TESTS = $(COMPILED_UNIT:%=tests/chatserver/test_%.py) $(COMPILED_INTEGRATION:%=tests/integration/test_%.py)
# Awaited coroutines of mypyc's are thrown into in the old way; Python shows this warning to nobody but tests.
COMPILED_WARNS = ignore:the (type, exc, tb) signature of throw:DeprecationWarning
# A whole cluster on a busy machine: CI looks twice before it fails, and prints what the first look saw. Nothing else is
# run again: a race that shows once in a hundred runs is what those tests are for.
AGAIN = $(if $(CI),--reruns 1)
# Loading this plugin takes 0.8 s of CPU in each process, and one test file needs it.
LIGHT = -p no:schemathesis
LOCALCLUSTER = $(RUN) python -m localcluster --name $(NAME)

.PHONY: help up status url logs down check docs fix format lint types unit check-oldest check-compiled tools integration integration-chatserver integration-operator e2e e2e-chat e2e-machine all-lanes soak bench bench-regress test purge release changelog

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: | $(UV) ## a local Kubernetes, the images, the operator and a chat you can open (NAME=other for a second one, NODES=2)
	@$(LOCALCLUSTER) up $(if $(NODES),--nodes $(NODES))

status: | $(UV) ## what runs, and the chat's address
	@$(LOCALCLUSTER) status

url: | $(UV) ## the chat's address, for scripts
	@$(LOCALCLUSTER) url

logs: | $(UV) ## the operator's and the chatservers' newest log lines
	@$(LOCALCLUSTER) logs

down: | $(UV) ## remove the cluster and everything it left on this machine
	@$(LOCALCLUSTER) down

purge: | $(UV) ## down, and delete the build caches too
	@$(LOCALCLUSTER) purge

check: format lint types unit ## format, lint, types, import contracts, unit tests (about a minute)

format: | $(UV) ## fail on unformatted files (`make fix` formats them)
	@$(RUN) ruff format --check .

fix: | $(UV) ## format and fix what can be fixed
	@$(RUN) ruff format . && $(RUN) ruff check --fix .

# Where the agent beside PostgreSQL is, which lists its metrics.
docs: export PYTHONPATH = images/postgres
docs: | $(UV) ## make docs/reference/chatcluster.md and the chart's copy from the CRD, the tables of docs/operations/conditions.md and docs/reference/metrics.md from the code, and the chart's rules and dashboards from monitoring/
	@$(RUN) python -m crds.reference && $(RUN) python -m crds.conditions && $(RUN) python -m crds.metrics && $(RUN) python -m monitoring.rules && $(RUN) python -m monitoring.dashboards

changelog: | $(UV) ## move the fragments of changelog.d into CHANGELOG.md, for the version in pyproject.toml
	@$(RUN) towncrier build --yes --version "$$($(RUN) python -m release --print-version)"

release: | $(UV) ## wheels, chart, images, bills of materials and checksums into dist/, from a clean tree (IMAGES=no: without images)
	@UV=$(UV) $(RUN) python -m release $(if $(filter no,$(IMAGES)),--no-images)

lint: | $(UV) ## ruff and the import contracts
	@$(RUN) ruff check . && $(RUN) lint-imports

# Outside the tree: a fresh clone takes over what an earlier one found out, over a minute of CPU.
types: export MYPY_CACHE_DIR ?= $(CACHE)/mypy
types: | $(UV) ## mypy, strict
	@$(RUN) mypy

unit: | $(UV) ## tests without I/O
	@$(RUN) pytest $(LIGHT) -q tests $(UNIT) --ignore=tests/integration --ignore=tests/e2e --ignore=tests/soak --lane unit

check-oldest: | $(UV) ## the unit tests of what runs on users' machines, on the oldest Python that is supported
	@python="$$(.ci/python $(UV) $(OLDEST))"; \
	UV_PROJECT_ENVIRONMENT=.local/python$(OLDEST) UV_PYTHON="$$python" $(UV) run --frozen --all-extras pytest $(LIGHT) -q $(OLDEST_TESTS) $(UNIT) --hypothesis-profile=brief --lane unit-$(OLDEST)

check-compiled: | $(UV) ## the tests of the chatserver on the wheel with compiled modules, in an environment of its own
	@wheel="$$(UV_PYTHON=$(UV_PYTHON) .ci/compiled-wheel $(UV) $(CACHE)/compiled)"; \
	UV_PROJECT_ENVIRONMENT=$(COMPILED)/venv UV_PYTHON=$(UV_PYTHON) $(UV) sync --quiet --frozen --all-extras --no-install-project; \
	$(UV) pip install --quiet --offline --no-deps --reinstall --python $(COMPILED)/venv/bin/python "$$wheel"; \
	CHAT_COMPILED=true $(COMPILED)/venv/bin/python -m pytest $(LIGHT) -q $(COMPILED_TESTS) -m "not soak" -W "$(COMPILED_WARNS)" --lane compiled

tools: | $(UV)
	@$(RUN) python -m localcluster --name integration tools

integration: tools integration-chatserver integration-operator ## tests on a real PostgreSQL and a real API server

integration-chatserver: | $(UV)
	@$(RUN) pytest -q $(INTEGRATION) -m "integration and not soak" --ignore=tests/integration/operator --durations=8 -n 2 --dist loadfile --lane integration-chatserver

integration-operator: | $(UV)
	@$(RUN) pytest $(LIGHT) -q tests/integration/operator -m "integration and not soak" --durations=8 -n 2 --dist loadfile --lane integration-operator

soak: tools ## what is slow and rare (ONLY=tests/soak/test_drain.py for a piece; CHAT_SOAK_SECONDS, 600; CHAT_SOAK_SEED; CHAT_SOAK_EXAMPLES, 200)
	@$(RUN) pytest -q $(or $(ONLY),tests) -m "soak or hypothesis" --hypothesis-profile=deep --lane soak

e2e: | $(UV) ## tests on real clusters of their own: of the chat, and of what a cluster leaves behind, side by side
	@$(MAKE) -j2 e2e-chat e2e-machine

e2e-chat: | $(UV)
	@$(RUN) pytest $(LIGHT) $(E2E) -m "e2e and not machine and not soak" -v --durations=10 --lane e2e-chat $(AGAIN)

e2e-machine: | $(UV)
	@$(RUN) pytest $(LIGHT) $(E2E) -m "e2e and machine and not soak" -v --durations=10 -p no:cacheprovider --lane e2e-machine $(AGAIN)

bench: | $(UV) ## our chat beside its peers and what the machine can do at all, as a report in docs/benchmarks (QUICK=1: under 15 minutes)
	@$(RUN) python -m bench --size $(if $(QUICK),quick,full)

bench-regress: | $(UV) ## what the hot path costs, counted and not timed, beside what was accepted (ACCEPT=1 accepts it)
	@$(RUN) python -m bench.regress $(if $(ACCEPT),--accept)

# Two lanes side by side, since some of them mostly wait; the longest begin first, and the next begins where one has
# ended. All go on after a failure, so that one run shows them all. The lane of the real chat, whose waits end when its
# programs get the CPU, comes before the others; that of what clusters leave begins early enough not to wait alone at the end.
test: | $(UV) ## everything CI runs; at the end, what each lane cost and found
	@rm -rf .local/lanes; mkdir -p .local/lanes; cp /proc/stat .local/lanes/begun; code=0; \
	{ $(MAKE) tools && $(MAKE) -k -j2 all-lanes; } || code=$$?; \
	$(RUN) python -m tests.support.lanes $$SECONDS || code=$$?; exit $$code

yielding-%:
	@nice -n 5 $(MAKE) -k -j1 $*

all-lanes: e2e-chat $(addprefix yielding-,integration-chatserver integration-operator e2e-machine check check-compiled check-oldest)

$(CACHE)/uv/bin/uv:
	@echo "installing uv into $(CACHE)/uv"
	@python3 -m venv $(CACHE)/uv && $(CACHE)/uv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r images/build/uv.txt
