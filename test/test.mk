# make test       everything: set-up, sandbox build, check, regress, isolation, tap, unit
# make check, regress, isolation, tap, unit      one of them; T="name …" runs only those, e.g. make regress T=rule_match
# make demo, bench, bench-NAME     contrib/demo/run, test/bench/run, test/bench/run-NAME; B="group …" runs some groups
#                of bench; ARGS="…" reaches the script
# All of them run unprivileged in a scratch copy of the tree (see test/run), also when root calls.
.PHONY: test check regress isolation tap unit demo bench sandbox setup
test check regress isolation tap unit demo bench:
	@test/run $@ $(T) $(B) $(ARGS)
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
