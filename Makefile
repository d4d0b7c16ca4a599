# A newcomer needs Rust and make; what else a target needs, it installs or says how to.
.DEFAULT_GOAL := help
.PHONY: help demo gossip-demo gossip-figures gossip-soak test lint bench bench-report bench-check peers deny mutants soak flaps dashboard

# One target directory and the same flags in every step, so that nothing is compiled twice;
# a clean build has no use for incremental data, which only costs time and disk here.
export CARGO_INCREMENTAL := 0
# Tests wait for servers more than they compute: four at once, also on fewer cores.
export RUST_TEST_THREADS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN || echo 1); echo $$((n > 4 ? n : 4)))
CARGO ?= cargo

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r target what; do \
		printf 'make %-12s %s\n' "$$target" "$$what"; done

demo: ## three private Redis servers, one is killed, watch its keys move and come back
	@test -n "$$REDIS_URLS" || scripts/need-redis.sh
	$(CARGO) run --features testing --example demo

gossip-demo: ## five instances of an application: one is killed and returns, one leaves, a stranger knocks, and requests find their owner (30 s)
	$(CARGO) run --quiet --features gossip,forward --example gossip_demo

gossip-figures: ## how fast 5, 20 and 50 processes learn of each other, and what it costs: the guide's table (10 minutes; SECONDS (60) idle)
	$(CARGO) bench --quiet --features gossip --bench gossip -- $(SECONDS)
	$(CARGO) test --quiet --release --features gossip --lib -- --ignored --nocapture gossip::vsim::times::a_lookup

gossip-soak: ## 10 000 seeds of virtual time, 1000 instances, 20 processes (SEEDS, FIRST; an hour)
	VSIM_FIRST=$(or $(FIRST),0) VSIM_SEEDS=$(or $(SEEDS),10000) $(CARGO) test --release --features gossip --lib -- --include-ignored --nocapture gossip::vsim
	$(CARGO) test --all-features --test it -- --ignored --nocapture gossip::process::twenty

test: ## everything that must hold: lints, documentation, then all tests
	@scripts/need-redis.sh
	@$(MAKE) --no-print-directory lint
	$(CARGO) test --all-features --doc
	$(CARGO) run --quiet --all-features --example gossip_demo -- --check
	$(CARGO) build --quiet --all-features --examples
	$(CARGO) build --quiet --locked --manifest-path examples/apalis/Cargo.toml --target-dir $${CARGO_TARGET_DIR:-target}
	scripts/watched.sh 50 $(CARGO) test --all-features --lib --bins --tests --no-fail-fast

lint: ## formatting, clippy, rustdoc, every feature alone
	$(CARGO) fmt --all --check
	$(CARGO) clippy --all-features --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --all-features --no-deps
	@scripts/each-feature.sh

# The bench crate: a release build in a directory of its own, results beside it in target/bench.
BENCH = CARGO_TARGET_DIR=target/peers $(CARGO) run --quiet --release --manifest-path benches/peers/Cargo.toml --bin

bench: ## compare with what one would use instead; writes BENCHMARKS.md (half an hour; continues; FRESH=1, QUICK=1)
	@scripts/need-redis.sh
	$(CARGO) bench --all-features --bench placement
	$(CARGO) bench --all-features --bench routing
	$(BENCH) throughput -- $(if $(QUICK),--quick) $(if $(FRESH),--fresh)
	$(BENCH) wire -- $(if $(QUICK),--rounds 3 --slice-ms 100) $(if $(FRESH),--fresh)
	$(BENCH) growth -- $(if $(QUICK),--rounds 3) $(if $(FRESH),--fresh)
	$(BENCH) observed -- $(if $(QUICK),--rounds 3 --slice-ms 100) $(if $(FRESH),--fresh)
	$(BENCH) lanes -- $(if $(QUICK),--rounds 3 --slice-ms 100) $(if $(FRESH),--fresh)
	$(CARGO) bench --all-features --bench hedging
	$(BENCH) queue
	$(BENCH) failure -- $(if $(QUICK),--contestants fluster-run) $(if $(FRESH),--fresh)
	$(BENCH) report

bench-report: ## BENCHMARKS.md and its charts again, from the results in target/bench
	$(BENCH) report

bench-check: ## instructions of the hot paths by callgrind; BASE=file compares with an earlier run
	@BASE=$(BASE) scripts/bench-check.sh

peers: ## what other clients show under ten faults; writes the guide's table (3 minutes)
	@scripts/need-redis.sh
	CARGO_TARGET_DIR=target/peers $(CARGO) run --quiet --manifest-path benches/peers/Cargo.toml --bin faults >target/peers.md
	cp target/peers.md src/guide/peers.md

# One seed for everything that is drawn, said first: the same SEED draws the same again.
soak: SEED := $(or $(SEED),$(shell date +%s))
soak: ## most of an hour: the fault scenarios at exact times, fuzz, a storm of cancelled calls, chaos for the queue and for nodes that return, MINUTES (10) of random faults; SEED
	@scripts/need-redis.sh
	@echo "make soak SEED=$(SEED)"
	FLUSTER_EXACT_TIMES=1 $(CARGO) test --all-features --test it -- --include-ignored --test-threads 1 faults:: --skip faults::soak --skip faults::flap
	PROPTEST_RNG_SEED=$(SEED) PROPTEST_CASES=$(or $(CASES),20000) $(CARGO) test --all-features --lib --test it -- fuzz::
	$(CARGO) test --all-features --test it -- --ignored replication::
	$(CARGO) test --all-features --test it -- --ignored --nocapture wire::storm::
	QUEUE_CHAOS_SEED=$(SEED) $(CARGO) test --all-features --test it -- --ignored --nocapture queue::chaos::
	FLUSTER_RETURN_SEED=$(SEED) $(CARGO) test --all-features --test it -- --ignored --nocapture recovery::chaos:: recovery::shared::
	MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=131072 SOAK_SEED=$(SEED) SOAK_MINUTES=$(or $(MINUTES),10) $(CARGO) test --all-features --test it -- --ignored --exact faults::soak::chaos --nocapture
	@echo "make soak SEED=$(SEED): all of it held"

flaps: ## what the flap rule costs: each node hit 14 times a minute, MINUTES (1) long; RULES (5:5,5:30,0:5) beside each other; SEED
	@scripts/need-redis.sh
	FLAP_SEED=$(SEED) FLAP_MINUTES=$(MINUTES) FLAP_RULES=$(RULES) $(CARGO) test --all-features --test it -- --ignored --nocapture faults::flap::

dashboard: ## every panel of docker/grafana shows something, while servers die (80 s; needs python3)
	@scripts/need-redis.sh
	CARGO_TARGET_DIR=target/docker-app $(CARGO) test --manifest-path docker/app/Cargo.toml
	CARGO_TARGET_DIR=target/docker-app $(CARGO) build --manifest-path docker/app/Cargo.toml
	prometheus=$$(scripts/need-prometheus.sh) && scripts/check-dashboard.py "$$prometheus" target/docker-app/debug/fluster-demo

deny: ## licences, banned crates, sources; advisories where their database can be fetched
	@scripts/deny.sh

mutants: ## every patch in tests/mutants must make its test fail
	@scripts/need-redis.sh
	MUTANTS_TARGET_DIR=target/mutants tests/mutants/run.sh
