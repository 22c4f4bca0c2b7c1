# connect.sh: what a new backend pays. 10,000 rules over 500 event names, and the hard case of 10,000 rules on one event.
bench_up -c eventmkt.enabled=off || return 1
make_bare
sql -c "SET client_min_messages = error" -c "SELECT count(eventmkt.create_rule('r' || i, 'Event ' || i % 500,
	('\$.amount >= ' || i)::jsonpath, send_to => 'none')) FROM generate_series(1, 10000) i" >/dev/null
sql -c "SET client_min_messages = error" -c "SELECT count(eventmkt.create_rule('h' || i, 'Many',
	('\$.category == \"c' || i || '\"')::jsonpath, send_to => 'none')) FROM generate_series(1, 10000) i" >/dev/null
sql -c "VACUUM ANALYZE eventmkt_data.rule_event" -c "VACUUM ANALYZE eventmkt_data.rule"

# first STATEMENT [STATEMENT-BEFORE]: median ms of a statement in new backends
first() {
	local i
	for ((i = 0; i < $(scaled 40 15); i++)); do
		psql -qAtX ${2:+-c "$2"} -c '\timing on' -c "$1" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p'
	done | median
}
bare=$(first "INSERT INTO bench.event (profile_id, name, properties, occurred_at) VALUES ('u1', 'Event 7', '{\"amount\": 1}', clock_timestamp())")
row "first track() of a new backend, 10,000 rules over 500 names" le 5 "$(first "SELECT eventmkt.track('u1', 'Event 7', '{\"amount\": 1}')")" ms \
	"" "$bare ms for a first bare INSERT" ""
row "the same, all 10,000 rules on that one event" le 5 "$(first "SELECT eventmkt.track('u1', 'Many', '{\"category\": \"c9\"}')")" ms "" "$bare ms" ""

memory() {
	sql -c "$1" -c "SELECT round(sum(total_bytes) / 1048576.0, 2) FROM pg_backend_memory_contexts" | tail -1
}
row "memory of a backend that met all 500 names" le 8 \
	"$(memory "SELECT count(eventmkt.track('u' || i, 'Event ' || i % 500, '{\"amount\": 1}')) FROM generate_series(1, 2000) i")" MB "" \
	"$(memory "SELECT 1") MB for a backend that did nothing" ""
row "memory of a backend that met the event with 10,000 rules" le 8 \
	"$(memory "SELECT count(eventmkt.track('u' || i, 'Many', '{\"category\": \"c9\"}')) FROM generate_series(1, 2000) i")" MB "" "" ""
pg_down
