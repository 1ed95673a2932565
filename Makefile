# One entry point for people and for CI. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# PROFILE=dev builds faster, PROFILE=release is what is shipped.
PROFILE ?= release
OUT := target/$(if $(filter dev,$(PROFILE)),debug,release)
BINARIES := postern tctl tsh tbot session-launcher session-exec
CARGO_BUILD := cargo build --locked --profile $(PROFILE) $(foreach b,$(BINARIES),--bin $(b))

# The agent runs beside everybody's work all day: of its release, size and memory count.
SMALL_AGENT = cargo build --locked --profile small --bin tbot && $(INSTALL) -m 755 target/small/tbot $(OUT)/tbot

PREFIX ?= /usr/local
INSTALL ?= install

.PHONY: help programs install quickstart test bench lint fmt docs pages deny tools build clean fuzz fuzz-smoke

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

tools: ## Install what a fresh machine is missing
	@scripts/tools

build: programs ## Build the programs (PROFILE=release or dev)
	$(if $(filter release,$(PROFILE)),$(SMALL_AGENT))

programs: tools
	$(CARGO_BUILD)

install: ## Install the programs that were built, and the unit for systemd (PREFIX=/usr/local, DESTDIR= for packages)
	@for program in $(BINARIES); do test -x $(OUT)/$$program || { echo "no $(OUT)/$$program; build it first: make build" >&2; exit 1; }; done
	$(INSTALL) -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/share/doc/postern
	$(INSTALL) -m 755 $(addprefix $(OUT)/,$(BINARIES)) $(DESTDIR)$(PREFIX)/bin
	sed 's|/usr/local/bin/|$(PREFIX)/bin/|' dist/systemd/postern.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/postern.service
	chmod 644 $(DESTDIR)$(PREFIX)/lib/systemd/system/postern.service
	$(INSTALL) -m 644 dist/systemd/without-node.conf $(DESTDIR)$(PREFIX)/share/doc/postern

quickstart: programs ## Start a cluster on loopback and run the guide on it (ONCE=1 stops it afterwards)
	@scripts/quickstart $(if $(ONCE),--once) --programs $(OUT)

test: tools ## Install what tests need, then run all of them
	@scripts/test-tools
	cargo build --locked --workspace --bins
	@scripts/run-tests

bench: tools ## Measure the budgets of the design, the agent, a node and the SSH engine, side by side with OpenSSH and russh (QUICK=1 to see that it runs)
	$(MAKE) build PROFILE=release
	@scripts/without-dotfiles scripts/bench --programs target/release $(if $(QUICK),--runs 3 --megabytes 128)
	@scripts/bench-agent --programs target/release $(if $(QUICK),--quick)
	cargo build --locked --release -p transport --example ssh_peer --example delay_relay
	@scripts/without-dotfiles scripts/bench-node --programs target/release $(if $(QUICK),--quick)
	@scripts/without-dotfiles scripts/bench-ssh --programs target/release $(if $(QUICK),--quick)

fmt: ## Format the code
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml

fuzz: ## Fuzz the parsers and state machines for an hour in all (SECONDS_EACH=n for each of thirteen targets)
	@scripts/tools c++
	@scripts/fuzz --seconds $(or $(SECONDS_EACH),550) --jobs 2

fuzz-smoke: ## The same for a minute each
	@scripts/tools c++
	@scripts/fuzz --seconds 60 --jobs 2

lint: tools ## Formatting, clippy, dependency rules
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

deny: ## Licences, advisories, bans and sources of dependencies
	@scripts/deny

docs: ## API documentation without warnings, and the book
	# Private items are documented too, so links to them lead somewhere.
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --locked --workspace --no-deps --document-private-items --quiet
	@scripts/book
	$(MAKE) pages

pages: ## Manual pages and shell completions of every program, into target/pages
	rm -rf target/pages
	cargo run --locked --quiet -p testkit --example pages -- target/pages

clean: ## Remove everything built, and the quickstart's cluster
	@scripts/quickstart --stop || true
	rm -rf target .venv .quickstart docs/book
