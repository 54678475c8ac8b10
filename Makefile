# `make demo` and `make test` need only Python 3.11+ and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PROFILE ?= sms
ENGINE ?= podman

.PHONY: help env demo up drill drill-rules drill-power test test-fast mutants lowest bench check format lint types contracts image docs site screenshots recording lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

env: $(VENV)/.ready ## the virtual environment, from the lock

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked packages (once, about a minute) …"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: env ## find, explain and repair stuck campaigns with Dagster, on embedded servers (PROFILE=sms|messenger)
	@$(BIN)/campaign-ops demo --profile $(PROFILE)

up: env ## a living platform with Dagster's web page, schedule and sensors; Ctrl-C stops all of it
	@$(BIN)/campaign-ops up

drill: env ## inject faults on embedded servers and print a scoreboard (DRILL="--seconds 60 --node")
	@$(BIN)/campaign-ops drill $(DRILL)

drill-rules: env ## drills with one rule removed and the faults that show it: all must report the damage (ten minutes)
	@$(BIN)/python -m pytest -n 2 tests/lab/drill/test_mutations.py

drill-power: env ## the kill rate of random drills, one for each planted fault (POWER="--seconds 75 --seed 1")
	@$(BIN)/python -m tests.lab.drill.power $(POWER)

test: env ## the tests, on embedded servers; of the drills with a rule removed, some
	@$(BIN)/python -m pytest -n 2 -m 'not power'

test-fast: env ## the tests that take no more than a few seconds each
	@$(BIN)/python -m pytest -n 2 -m 'not slow and not node and not browser and not power'

mutants: env ## change the product in one place at a time, and print which changes no fast test notices (MUTANTS="--part core")
	@$(BIN)/python -m tests.mutants $(MUTANTS)

check: format lint types contracts test ## what CI checks: format, lint, types, import contracts, all tests

# Those of what pyproject.toml gives ranges for: Dagster, the driver, the HTTP API, the command line.
LOWEST ?= tests/orchestration/test_runs.py tests/orchestration/test_storage.py tests/faces/cli/test_cli_reconcile.py \
	tests/faces/http/test_api_reading.py tests/proposal
lowest: env ## some tests with the lowest releases that pyproject.toml allows, in an environment of their own
	@$(BIN)/python -m pip install -qq --disable-pip-version-check uv
	@$(BIN)/uv venv -q --clear --python $(BIN)/python .lowest
	@$(BIN)/uv pip install -q --python .lowest/bin/python --resolution lowest-direct --only-binary :all: --no-binary campaign_ops \
		'.[lab]' 'httpx>=0.28' 'hypothesis>=6.130' 'pytest>=8.3' 'pytest-timeout>=2.3' 'pytest-xdist>=3.6'
	@.lowest/bin/python -m pytest -n 2 -p no:cacheprovider -m 'not slow' $(LOWEST)

bench: env ## the benchmark on embedded servers, about an hour (BENCH="--only sweep --rounds 3" for a part of it)
	@$(BIN)/python -m benchmarks $(BENCH)

format: env
	@$(BIN)/ruff format --check .

lint: env
	@$(BIN)/ruff check .

types: env
	@$(BIN)/mypy

contracts: env
	@$(BIN)/lint-imports

image: env ## the container image of deploy/Containerfile, from the wheel of this checkout (ENGINE=podman|docker|buildah)
	@rm -rf dist && $(BIN)/python -m hatchling build --target wheel
	@$(ENGINE) build --file deploy/Containerfile --tag campaign-ops .

docs: env ## write the generated pages of docs/
	@$(BIN)/python docs/build.py

site: env ## the pages of docs/ as a web site with search, in build/site; without network
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html"

screenshots: env ## take the pictures of docs/console.md with Chromium
	@$(BIN)/python docs/screenshots.py

recording: env ## record the session of README.md, with Chromium
	@$(BIN)/python docs/recording.py

lock: env ## resolve the dependencies again: names, versions and hashes, no address
	@$(BIN)/python -m pip install -qq --disable-pip-version-check uv
	@$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-strip-extras --no-emit-index-url --no-header --quiet --upgrade -o requirements.lock

clean: ## remove what the other targets create
	rm -rf $(VENV) .lowest .demo .drill .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
