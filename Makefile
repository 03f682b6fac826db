SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run build test test-mysql hardday chaos sim sim-mutants lint generate bench fuzz clean

GO ?= go
TOOL = $(GO) tool -modfile=internal/tools/go.mod
# Bounds one package; the slowest start Kafka a few times, about 5 s each.
TIMEOUT ?= 30m
BENCH ?= .
COUNT ?= 6
FUZZTIME ?= 10s
SEEDS ?= 1000
FROM ?= 1

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-11s %s\n", $$1, $$2}' Makefile

run: build ## run everything in one process, with nothing installed
	@trap : INT; bin/millrace dev # ctrl-C is the program's alone

build: ## build bin/millrace
	$(GO) build -trimpath -o bin/millrace ./cmd/millrace

test: ## install what is missing (as root), vet, lint and test with the race detector
	@internal/testenv/install.sh
	@$(GO) run -buildvcs=false ./internal/testenv/fetch
	$(GO) vet ./...
	@$(MAKE) --no-print-directory lint
	$(GO) test -race -shuffle=on -timeout=$(TIMEOUT) ./...

test-mysql: ## run the SQL sinks' tests on MySQL 9.7 too (needs root)
	internal/testenv/mysql97.sh $(GO) test -count=1 -timeout=$(TIMEOUT) ./processor/sink/...

hardday: ## 20 minutes of faults on 500 symbols, two ingestors, one killed: every candle must be the truth
	$(GO) test -count=1 -timeout=60m -v -run '^TestHardDay$$' ./cmd/millrace -hardday 20m -hardday-symbols 500 -hardday-rate 600 -hardday-faults 2

chaos: ## each fault of Kafka, MariaDB and NATS on its own, and each step around checkpoints on each store, on real parts
	$(GO) test -race -count=1 -timeout=90m -v -run '^(TestChaos|TestEveryCheckpointFailpoint)$$' ./cmd/millrace -chaos

sim: ## simulate SEEDS (1000) runs of the whole path with faults, from seed FROM (1)
	@mkdir -p bin && $(GO) test -c -tags=synctests -o bin/sim.test ./internal/sim
	@cd internal/sim && ../../bin/sim.test -test.run '^TestSeeds$$' -sim.seeds $(SEEDS) -sim.from $(FROM)

sim-mutants: ## plant bugs, one at a time, and say after how many seeds the simulator finds each
	internal/sim/mutants/run.sh $(SEEDS)

lint: ## check the rules of .golangci.yml, the length of files, generated code
	$(TOOL) golangci-lint run ./...
	@cd ingest/double/foreign/gobinance && $(GO) tool -modfile=$(CURDIR)/internal/tools/go.mod golangci-lint run ./...
	$(TOOL) golangci-lint run --build-tags synctests ./internal/sim/...
	@find . -name '*.go' -not -path './.*/*' -print0 | xargs -0 awk ' \
		FNR == 1 { generated = 0 } \
		/^\/\/ Code generated .* DO NOT EDIT\.$$/ { generated = 1 } \
		FNR == 801 && !generated { print FILENAME ": over 800 lines"; bad = 1 } \
		END { exit bad }'
	@internal/tools/generate.sh --check

generate: ## write the code that protoc generates
	internal/tools/generate.sh

bench: ## run the benchmarks into bin/bench.txt; OLD=file compares with an earlier one
	@mkdir -p bin
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) ./... | tee bin/bench.txt
	@$(TOOL) benchstat $(OLD) bin/bench.txt

fuzz: ## fuzz each target for FUZZTIME (10s)
	@grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$file"); do \
			echo "$$(dirname "$$file") $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")"; \
		done; \
	done

clean: ## remove bin and the cache of the tests' servers
	rm -rf bin "$${XDG_CACHE_HOME:-$$HOME/.cache}/millrace-test"
