# make test       everything: set-up, sandbox build, check, regress, isolation, tap, unit
# make check, regress, isolation, tap, unit      one of them; T="name …" runs only those, e.g. make regress T=rule_match
# make demo, bench, bench-NAME     contrib/demo/run, test/bench/run, test/bench/run-NAME; B="group …" runs some groups
#                of bench; ARGS="…" reaches the script
# All of them run unprivileged in a scratch copy of the tree (see test/run), also when root calls.
.PHONY: test check regress isolation tap unit demo bench sandbox setup
test check regress isolation tap unit demo bench:
	@test/run $@ $(T) $(B) $(ARGS)
# the nightly sizes: of the TAP files that have one, and test/nightly; T="name …" runs some, so does nightly-NAME. What passed on
# this commit is not run again. test-release: these, the sanitizers, the fuzzers and the matrix, taken up again in the same way
.PHONY: test-nightly test-release
test-nightly:
	@test/run nightly $(T)
nightly-%:
	@test/run nightly $*
test-release:
	@test/release $(T)
bench-%:
	@test/run $@ $(ARGS)
sandbox setup:
	@test/$@
# questions over history beside ClickHouse and DuckDB; BENCH_EVENTS and others: see the script
.PHONY: bench-history
bench-history:
	@test/bench/history/run
# all of it on PostgreSQL 15, 17 and 18, by gcc and clang; root only, see the script
.PHONY: test-matrix
test-matrix:
	@test/matrix $(CELLS)
# Debian packages of each release, installed and tried on a clean system; root only, see the script
.PHONY: deb
deb:
	@test/deb $(RELEASES)
# what PGXN takes: META.json with the version of eventmkt.control, and the archive of the committed tree with it
.PHONY: META.json dist
META.json:
	@sed "s/@VERSION@/$(VERSION)/" META.json.in > $@
dist: META.json
	@git archive --prefix=eventmkt-$(VERSION)/ --add-file=META.json -o eventmkt-$(VERSION).zip HEAD
	@echo eventmkt-$(VERSION).zip
VERSION = $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" eventmkt.control)
# the suites on a server with AddressSanitizer; ARGS="regress=rule_match" runs some of them
.PHONY: test-asan
test-asan:
	@test/asan $(ARGS)
# the suites with caches discarded, in parallel workers, with WAL compared on a standby; ARGS="wal" runs one of them
.PHONY: test-cautious
test-cautious:
	@test/cautious $(ARGS)
# each parser, T="target …" for SECONDS each (60), on that server
.PHONY: fuzz
fuzz:
	@SECONDS_EACH=$(or $(SECONDS),60) test/fuzz/run $(ARGS) $(T)
