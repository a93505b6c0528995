# The commands of the project. `make` alone lists them.

PORT ?= 8000
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PAGES := frontend/dist/.built
EXAMPLE := frontend/examples/apollo
UPGRADE ?= --upgrade
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header $(UPGRADE)

.PHONY: help run pages test test-sqlite test-postgresql test-browser chaos screenshot bench bench-report bench-adoption bench-workers check check-project check-pages format lock api wheel clean

help: ## List the commands
	@grep -E '^[a-z -]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 30

run: $(BIN)/.installed pages ## Serve the demo at http://127.0.0.1:8000 (PORT= for another)
	@DEBUG=true HTTPS=false OPEN_ACCESS=true exec $(BIN)/python manage.py rundemo --port $(PORT)

pages: $(PAGES) ## Build the board and the playground, if their sources have changed

test: $(BIN)/.installed-dev ## Run all tests, on SQLite and on PostgreSQL at once
	$(BIN)/python -m tests

test-sqlite test-postgresql: test-%: $(BIN)/.installed-dev ## Run the tests on one database
	$(BIN)/python -m pytest --database $*

test-browser: $(BIN)/.installed-browser pages $(EXAMPLE)/node_modules/.package-lock.json ## Test the pages in Chromium
	$(BIN)/python -m pytest tests/browser

chaos: $(BIN)/.installed-dev ## Let everything fail at random for SECONDS=60; SEED= replays a plan, DATABASE=sqlite or postgresql
	@$(BIN)/python -m tests.chaos --seconds $(or $(SECONDS),60) --database $(or $(DATABASE),postgresql) $(if $(SEED),--seed $(SEED))

screenshot: $(BIN)/.installed-browser pages ## Take the README's picture anew
	$(BIN)/python -m tests.browser.screenshot docs/board.png

bench: $(BIN)/.installed-bench ## Compare with other ways, in 25 minutes (QUICK=1: a little of each, in one and a half)
	@$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

bench-report: $(BIN)/.installed-bench ## Write the report of the last comparison anew
	@$(BIN)/python -m benchmarks report

bench-adoption: $(BIN)/.installed-bench ## Compare what a team writes with Strawberry-Django and Channels, in four minutes; needs redis-server (QUICK=1: in one)
	@$(BIN)/python -m benchmarks.adoption $(if $(QUICK),--quick)

bench-workers: $(BIN)/.installed-bench ## Measure several workers together and write docs/scale.md, in eight minutes (QUICK=1: in half a one)
	@$(BIN)/python -m benchmarks.workers $(if $(QUICK),--quick)

check: $(BIN)/.installed-dev ## Everything that needs no running program: format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	DEBUG=true $(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory check-project

check-project: $(BIN)/.installed-dev ## Of these, Django's own: settings and migrations
	SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(60))') \
		$(BIN)/python manage.py check --deploy --fail-level WARNING
	DEBUG=true $(BIN)/python manage.py makemigrations --check --dry-run

check-pages: pages $(EXAMPLE)/node_modules/.package-lock.json ## Check the types of the pages and of the example
	cd frontend && PATH="$(abspath $(BIN)):$$PATH" npm run check
	cd $(EXAMPLE) && PATH="$(abspath $(BIN)):$$PATH" npm run check

format: $(BIN)/.installed-dev ## Format the code and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(BIN)/python ## Choose the newest allowed versions and write requirements*.txt (UPGRADE= keeps them)
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE) pyproject.toml --all-extras --group project --output-file requirements.txt
	$(COMPILE) pyproject.toml --all-extras --group project --group dev \
		--constraint requirements.txt --output-file requirements-dev.txt
	for group in pages browser bench; do \
		$(COMPILE) --group $$group --constraint requirements-dev.txt \
			--output-file requirements-$$group.txt; \
	done

api: $(BIN)/.installed-dev ## Write docs/api.md anew from the docstrings
	$(BIN)/python -m tests.api_page docs/api.md

wheel: $(BIN)/.installed-dev ## Pack app/ as the package live_graphql, into dist/
	$(BIN)/python -m build --wheel --no-isolation --outdir dist

clean: ## Remove what was installed and built; the database stays
	rm -rf $(VENV) .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage* htmlcov dist
	rm -rf frontend/dist frontend/build.log frontend/node_modules $(EXAMPLE)/node_modules benchmarks/node/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with PYTHON=")'
	@$(PYTHON) -m venv $(VENV)

$(BIN)/.installed: requirements.txt | $(BIN)/python
	@echo "Installing what the server needs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(BIN)/.installed-dev: requirements-dev.txt | $(BIN)/python
	@echo "Installing what the tests need into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@ $(BIN)/.installed

$(BIN)/.installed-bench: requirements-bench.txt benchmarks/node/package-lock.json | $(BIN)/.installed-dev
	@echo "Installing what is compared ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.txt
	@cd benchmarks/node && PATH="$(abspath $(BIN)):$$PATH" npm ci --silent --no-audit --no-fund
	@touch $@

$(BIN)/.installed-browser: requirements-browser.txt | $(BIN)/.installed-dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-browser.txt
	@touch $@

# The server runs without its pages, too: why they are missing is told in one line, and no error.
$(PAGES): $(shell find frontend/src -type f) $(wildcard frontend/*.html frontend/*.json frontend/*.ts) \
		frontend/.npmrc requirements-pages.txt | $(BIN)/python
	@echo "Building the pages ..."
	@cd frontend && export PATH="$(abspath $(BIN)):$$PATH" && { \
		python -m pip install --quiet --disable-pip-version-check --require-hashes \
			-r ../requirements-pages.txt && \
		{ [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci; } && \
		npm run build && touch dist/.built; \
	} >build.log 2>&1 || echo "The board and the playground are not built:" \
		"$$(grep -im1 -E 'error|not found' build.log) (the rest is in frontend/build.log)"

$(EXAMPLE)/node_modules/.package-lock.json: $(EXAMPLE)/package-lock.json | pages
	cd $(EXAMPLE) && PATH="$(abspath $(BIN)):$$PATH" npm ci
	@touch $@
