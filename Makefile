# Developer commands. `make demo` and `make up` install only the server; the others add the development tools.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH ?=
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo demo-emulators up test test-fast lint checkov audit docs site format lock vendor deploy smoke bench soak soak-gc chaos hostile clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/server ## run a job through the five steps on this machine
	@$(BIN)/python -m cloud_executor.cli.demo

demo-emulators: $(VENV)/dev ## run the same steps with Google's client libraries, on emulators
	@$(BIN)/python -m cloud_executor.cli.demo --emulators

up: $(VENV)/server ## start the local stack (executor up)
	@$(BIN)/executor up

# The tests wait more than they work, so there are more test processes than cores (tests/distribution.py).
PYTEST := $(BIN)/python -m pytest -n auto --dist loadgroup

test: $(VENV)/dev ## run the whole test suite
	@$(PYTEST)

test-fast: $(VENV)/dev ## run the unit, contract, and HTTP tests that need no emulator
	@$(PYTEST) -m "not emulated" tests/unit tests/contract tests/http

lint: $(VENV)/dev ## run ruff and mypy, and check that the requirements are up to date
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@mkdir -p $(VENV)/lock/worker_vm && for file in $(REQUIREMENTS); do cp $$file $(VENV)/lock/$$file; done
	@$(MAKE) --silent lock LOCKED=$(VENV)/lock/
	@for file in $(REQUIREMENTS); do cmp $$file $(VENV)/lock/$$file || \
		{ echo "The requirements are out of date: run make lock and commit the changes."; exit 1; }; done

# Checkov needs about a hundred packages, so it has its own environment. Nothing is sent anywhere.
checkov: $(VENV)/dev ## scan terraform/ for insecure settings
	@$(BIN)/uv tool run --quiet --from checkov==3.3.30 checkov --quiet --compact --skip-download \
		--framework terraform --directory terraform --var-file terraform/examples/production.tfvars

# pip-audit has its own environment, as Checkov has. It sends the packages' names and versions to OSV.
audit: $(VENV)/dev ## look up known vulnerabilities of the pinned packages in OSV, a public database of advisories
	@$(BIN)/uv tool run --quiet --from pip-audit==2.10.1 pip-audit --vulnerability-service osv --strict --no-deps \
		--disable-pip --progress-spinner off $(REQUIREMENTS:%=--requirement %)

docs: $(VENV)/server ## regenerate the generated parts of docs/ and of the Terraform module's README
	@$(BIN)/python -m docs.generate

site: $(VENV)/dev ## build the documentation as a web site in build/site, and check its links
	@$(BIN)/python -m docs.site

format: $(VENV)/dev ## format the code and fix what ruff can fix
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .

REQUIREMENTS := requirements.txt worker_vm/requirements.txt requirements-dev.txt
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	--custom-compile-command 'make lock' --no-annotate

lock: $(VENV)/dev ## regenerate every requirements.txt from pyproject.toml
	@$(LOCK) --extra server --extra google --extra s3 pyproject.toml -o $(LOCKED)requirements.txt
	@$(LOCK) --extra google --extra s3 --extra vm -c $(LOCKED)requirements.txt pyproject.toml \
		-o $(LOCKED)worker_vm/requirements.txt
	@$(LOCK) --extra dev -c $(LOCKED)requirements.txt -c $(LOCKED)worker_vm/requirements.txt pyproject.toml \
		-o $(LOCKED)requirements-dev.txt

# npm installs the libraries into vendor/node_modules.
vendor: ## rebuild the dashboard's libraries (functions/dashboard/static/vendor.js) from vendor/package-lock.json
	@cd vendor && npm ci --ignore-scripts --no-audit --no-fund --silent && node build.mjs ../functions/dashboard/static

deploy: $(VENV)/server ## deploy to Google Cloud: make deploy PROJECT=my-project (docs/deployment.md)
	@test -n "$(PROJECT)" || { echo "PROJECT is not set. Run: make deploy PROJECT=my-project"; exit 2; }
	@$(BIN)/python -m deploy --project "$(PROJECT)" $(if $(REGION),--region "$(REGION)") $(if $(NAME),--name "$(NAME)") \
		$(if $(STATE_BUCKET),--state-bucket "$(STATE_BUCKET)") \
		$(foreach address,$(DESTROY),--destroy '$(address)') $(if $(filter yes,$(CONFIRM)),--yes)

smoke: $(VENV)/server ## try a deployment in a throw-away project: make smoke PROJECT=my-project (docs/deployment.md)
	@test -n "$(PROJECT)" || { echo "PROJECT is not set. Run: make smoke PROJECT=my-throw-away-project"; exit 2; }
	@$(BIN)/python -m deploy.smoke --project "$(PROJECT)" $(if $(REGION),--region "$(REGION)") \
		$(if $(filter yes,$(CONFIRM)),--yes)

bench: $(VENV)/dev ## measure speed, compared with the limits of this machine
	@$(BIN)/python -m bench $(BENCH)

MINUTES ?= 10

soak: $(VENV)/dev ## kill, freeze, and disconnect workers under load (MINUTES=30, SANDBOX=container; SEED=7 repeats a run)
	@PYTHONPATH=.:tests:tests/e2e:tests/e2e/faults $(BIN)/python tests/e2e/faults/storms/soak.py $(MINUTES)

soak-gc: $(VENV)/dev ## delete old data while clients upload, link, and delete (MINUTES=10; SEED=7 repeats the choices)
	@GC_SECONDS=$$((60 * $(or $(MINUTES),10))) GC_SEED=$(or $(SEED),0) $(BIN)/python -m pytest -n0 -s --timeout=0 tests/contract/test_retention_races.py

chaos: $(VENV)/dev ## cause each fault, check the history, and rewrite docs/reliability.md (STACK=emulated, FAULTS=disk)
	@PYTHONPATH=.:tests:tests/e2e:tests/e2e/faults $(BIN)/python tests/e2e/faults/chaos/chaos.py $(if $(STACK),--stack $(STACK)) \
		$(if $(FAULTS),--only '$(FAULTS)')

# Takes half an hour and 21 GiB of disk.
hostile: $(VENV)/dev ## run oversized jobs at full size, and print the time and the worker's memory
	@FULL_SIZE=1 $(BIN)/python -m pytest -s -vv tests/worker/sandbox/test_full_size.py

clean: ## remove the virtual environment and caches
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache

$(VENV)/server: pyproject.toml requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is required. Specify it, for example: make demo PYTHON=python3.12"; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "Setting up $(VENV) ..."; $(PYTHON) -m venv --clear $(VENV); }
	@$(INSTALL) -c requirements.txt --editable '.[server]'
	@touch $@

# uv takes half of pip's time, but it does not read pip's settings, such as those of a proxy.
$(VENV)/dev: $(VENV)/server requirements-dev.txt
	@$(INSTALL) -c requirements-dev.txt uv
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements-dev.txt || \
		$(INSTALL) -r requirements-dev.txt
	@touch $@
