# Two commands do all the set-up: `make demo` and `make test`. What they install lands in .venv.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
KUBO := .kubo/ipfs
PIP := $(BIN)/pip --disable-pip-version-check --quiet
NPM := npm ci --silent --no-audit --no-fund --ignore-scripts

.PHONY: demo
demo: $(STAMP)  ## the whole story on a real model
	$(BIN)/modelreg demo

.PHONY: test
test: $(STAMP)  ## unit, property and vector tests
	$(BIN)/pytest -n auto --dist worksteal -m "not slow and not node and not kubo"

.PHONY: test-node
test-node: $(STAMP) node  ## tests against JavaScript clients and anvil
	$(BIN)/pytest -m "node and not slow and not kubo"

.PHONY: test-slow
test-slow: $(STAMP)  ## crash, load and fuzz campaigns
	$(BIN)/pytest -n auto --dist worksteal --timeout 1800 -m "slow and not node and not kubo"

.PHONY: test-kubo
test-kubo: $(STAMP) kubo  ## tests against real Kubo daemons
	$(BIN)/pytest -m "kubo"

.PHONY: fuzz
fuzz: $(STAMP)  ## ten minutes of mutated input for each parser, all at once
	MODELREG_FUZZ_SECONDS=600 $(BIN)/pytest -n 12 --timeout 3600 -m slow -k fuzz

.PHONY: test-mutants
test-mutants: $(STAMP) node  ## break each check of the contract and see a test fail
	$(BIN)/pytest tests/contracts/test_mutants.py

.PHONY: lint
lint: $(STAMP)  ## style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: docs
docs: $(STAMP)  ## write the README's transcript and docs/cli.md
	$(BIN)/python scripts/docs.py

.PHONY: docs-check
docs-check: $(STAMP)  ## fail if they drifted
	$(BIN)/python scripts/docs.py --check

.PHONY: contracts
contracts:  ## compile the contracts with the pinned solc and compare with the artifacts
	cd contracts && $(NPM) && node build.mjs

.PHONY: node
node:  ## the npm packages that tests use
	cd tests/interop && $(NPM)
	cd contracts && $(NPM)

.PHONY: kubo
kubo: $(KUBO)  ## build the Kubo that tests use, pinned with all its modules (needs Go)
	test "$$($(KUBO) version --number)" = "$$(sed -n 's|.*github.com/ipfs/kubo v\([0-9.]*\).*|\1|p' tests/interop/kubo/go.mod)"

.PHONY: package
package: $(STAMP)  ## build wheel and sdist, install each outside the checkout and run it
	$(BIN)/python scripts/check_package.py

.PHONY: lock
lock:  ## refresh requirements.lock (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-annotate --no-header --only-binary :all: --no-binary varint \
	  --no-emit-package varint pyproject.toml --group dev \
	  --extra inference --extra fast \
	  --output-file requirements.lock

.PHONY: help
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

$(KUBO): tests/interop/kubo/go.mod tests/interop/kubo/go.sum
	cd tests/interop/kubo && CGO_ENABLED=0 go build -trimpath -o $(CURDIR)/$(KUBO) github.com/ipfs/kubo/cmd/ipfs

$(STAMP): requirements.lock requirements-source.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) install --no-deps --only-binary :all: --require-hashes --requirement requirements.lock
	$(PIP) install --no-deps --no-build-isolation --require-hashes --requirement requirements-source.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@
