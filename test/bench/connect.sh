# connect.sh: what a new backend pays. 10,000 rules over 500 event names, and the hard case of 10,000 rules on one event.
bench_up -c eventmkt.enabled=off || return 1
make_bare
sql -c "SET client_min_messages = error" -c "SELECT count(eventmkt.create_rule('r' || i, 'Event ' || i % 500,
	('\$.amount >= ' || i)::jsonpath, send_to => 'none')) FROM generate_series(1, 10000) i" >/dev/null
sql -c "SET client_min_messages = error" -c "SELECT count(eventmkt.create_rule('h' || i, 'Many',
	('\$.category == \"c' || i || '\"')::jsonpath, send_to => 'none')) FROM generate_series(1, 10000) i" >/dev/null
sql -c "VACUUM ANALYZE eventmkt_data.rule_event" -c "VACUUM ANALYZE eventmkt_data.rule"

bare="INSERT INTO bench.event (profile_id, name, properties, occurred_at) VALUES ('u1', 'Event 7', '{\"amount\": 1}', clock_timestamp())"
spread="SELECT eventmkt.track('u1', 'Event 7', '{\"amount\": 1}')"
many="SELECT eventmkt.track('u1', 'Many', '{\"category\": \"c9\"}')"
# one_first NAME STATEMENT: ms of the statement as a new backend's first, and of CPU (its pid is asked for before), to files
one_first() {
	psql -qAtX <<-SQL | awk -v f="$BENCH_TMP/first.$1" '/^Time/ {print $2 >> f} /^ns/ {if (n++) print ($2 - last) / 1e6 >> (f ".cpu"); last = $2}'
	SELECT pg_backend_pid() AS pid \gset
	\setenv PID :pid
	\! echo ns \$(cut -d' ' -f1 /proc/\$PID/schedstat)
	\timing on
	$2;
	\timing off
	\! echo ns \$(cut -d' ' -f1 /proc/\$PID/schedstat)
	SQL
}
for ((i = 0; i < $(scaled 40 15); i++)); do
	for what in bare spread many; do one_first $what "${!what}"; done
done
first() { calc "$(median < "$BENCH_TMP/first.$1")"; }
cpu() { echo "$(calc "$(median < "$BENCH_TMP/first.$1.cpu")" 1) / $(calc "$(median < "$BENCH_TMP/first.bare.cpu")" 1) ms"; }
row "first track() of a new backend, 10,000 rules over 500 names" le 5 "$(first spread)" ms "" "$(first bare) ms for a first bare INSERT" "$(cpu spread)"
row "the same, all 10,000 rules on that one event" le 5 "$(first many)" ms "" "$(first bare) ms" "$(cpu many)"

memory() {
	sql -c "$1" -c "SELECT round(sum(total_bytes) / 1048576.0, 2) FROM pg_backend_memory_contexts" | tail -1
}
row "memory of a backend that met all 500 names" le 8 \
	"$(memory "SELECT count(eventmkt.track('u' || i, 'Event ' || i % 500, '{\"amount\": 1}')) FROM generate_series(1, 2000) i")" MB "" \
	"$(memory "SELECT 1") MB for a backend that did nothing" ""
row "memory of a backend that met the event with 10,000 rules" le 8 \
	"$(memory "SELECT count(eventmkt.track('u' || i, 'Many', '{\"category\": \"c9\"}')) FROM generate_series(1, 2000) i")" MB "" "" ""
pg_down
