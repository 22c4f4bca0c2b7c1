# latency.sh: how long until the first byte is at the endpoint. The commit's time is the server's own (track_commit_timestamp), the
# request's is the receiver's, one clock for both; the receiver is one process that answers 200.
secs=$(scaled 60 8)
log=$BENCH_TMP/arrivals

# track_at RATE SECONDS SQL-EXPRESSION
track_at() {
	echo "\\set u random(1, 1000000000)
	$3" > "$BENCH_TMP/at.sql"
	pgbench -n -M prepared -c 4 -j 1 -R "$1" -T "$2" -f "$BENCH_TMP/at.sql" > "$BENCH_TMP/at.out" 2>&1 || { cat "$BENCH_TMP/at.out"; return 1; }
}
# settled [condition]
settled() { wait_until 60 "SELECT NOT EXISTS (SELECT FROM eventmkt_data.work) AND NOT EXISTS (SELECT FROM eventmkt_data.delivery
	WHERE status NOT IN ('delivered', 'dead', 'cancelled') ${1-}) AND EXISTS (SELECT FROM eventmkt_data.delivery)"; }
# ms from COLUMN to the request, in file $BENCH_TMP/ms
from_commit() {
	sql -c "SELECT extract(epoch FROM a.at - pg_xact_commit_timestamp(e.xmin)) * 1000 FROM arrival a JOIN eventmkt_data.delivery d USING (id)
		JOIN eventmkt_data.event e USING (event_id) ${1-}" > "$BENCH_TMP/ms"
}
p() { calc "$(percentile "$1" < "$BENCH_TMP/ms")" 2; }

bench_up || return 1
start_receiver "$log"
endpoint shop / "max_in_flight => 64"
sql -c "SET client_min_messages = error" -c "SELECT eventmkt.create_rule('parked', 'Cart Left', after => '1 day', send_to => 'none')" >/dev/null
parked=$(scaled 10000000 100000)
park "$parked" "10 days" "40 days"
sql -c "VACUUM ANALYZE eventmkt_data.pending_trigger"
settle_disk
sql -c "SET client_min_messages = error" -c "SELECT eventmkt.create_rule('soon', 'Soon', after => '2 seconds', send_to => 'shop'),
	eventmkt.create_rule('now', 'Now', send_to => 'shop')" >/dev/null
track_at 100 "$secs" "SELECT eventmkt.track(:u, 'Soon', '{\"amount\": 1}');" || return 1
sleep 2
settled && receiver_notes "$log" || return 1
sql -c "SELECT extract(epoch FROM a.at - d.due_at) * 1000 FROM arrival a JOIN eventmkt_data.delivery d USING (id)" > "$BENCH_TMP/ms"
parts=$(sql -c "SELECT extract(epoch FROM d.created_at - d.due_at) * 1000, extract(epoch FROM a.at - d.created_at) * 1000,
	extract(epoch FROM d.run_created_at - e.received_at) * 1000 FROM arrival a JOIN eventmkt_data.delivery d USING (id) JOIN eventmkt_data.event e USING (event_id)")
note "Of that, medians: due → taken $(calc "$(cut -d'|' -f1 <<< "$parts" | median)" 2) ms, taken → first byte (durable first) $(calc "$(cut -d'|' -f2 <<< "$parts" | median)" 2) ms; event → run $(calc "$(cut -d'|' -f3 <<< "$parts" | median)" 2) ms. A flush of the WAL took $(flush_ms) ms."
row "due time → first byte, $parked parked: p50" le 5 "$(p 50)" ms "" "" "$(wc -l < "$BENCH_TMP/ms") requests"
row "due time → first byte, $parked parked: p99" le 50 "$(p 99)" ms "" "" ""

sql -c "TRUNCATE eventmkt_data.delivery, eventmkt_data.attempt, eventmkt_data.event"
settle_disk
pid=$(worker_pid)
before=$(worker_cpu "$pid")
track_at 1000 "$secs" "SELECT eventmkt.track(:u, 'Now', '{\"amount\": 1}');" || return 1
settled && receiver_notes "$log" || return 1
after=$(worker_cpu "$pid")
from_commit
note "At 1,000 events/s a flush of the WAL took $(flush_ms) ms; the request waits for the worker's own."
row "commit → request, 1,000 events/s: p50" le 5 "$(p 50)" ms "" "" "worker $(calc "($after - $before) / 1000 / $(wc -l < "$BENCH_TMP/ms")" 0) µs an event"
row "commit → request, 1,000 events/s: p99" le 25 "$(p 99)" ms "" "" "$(wc -l < "$BENCH_TMP/ms") requests"

# one endpoint of 200 hangs
sql -c "SET client_min_messages = error" \
	-c "SELECT count(eventmkt.create_endpoint('e' || i, 'http://127.0.0.1:$PORT/n/' || i, timeout => '2 seconds', schedule => '{1,1}')) FROM generate_series(1, 200) i" \
	-c "SELECT count(eventmkt.create_rule('e' || i, 'Spread', ('\$.n == ' || i)::jsonpath, send_to => 'e' || i)) FROM generate_series(1, 200) i" >/dev/null
rm -f "$BENCH_TMP"/p99.*
for ((r = 0; r < 2 * ROUNDS; r++)); do
	kind=$([ $((r % 2)) = 0 ] && echo all || echo hang)
	sql -c "TRUNCATE eventmkt_data.delivery, eventmkt_data.attempt, eventmkt_data.event, eventmkt_data.endpoint_state" \
		-c "SELECT eventmkt.replace_endpoint('e1', 'http://127.0.0.1:$PORT/$([ $kind = all ] && echo n/1 || echo hang)', timeout => '2 seconds', schedule => '{1,1}')" >/dev/null
	track_at 400 "$(scaled 20 5)" "\\set n random(1, 200)
	SELECT eventmkt.track(:u, 'Spread', jsonb_build_object('n', :n::int));" || return 1
	settled "AND endpoint_id <> (SELECT endpoint_id FROM eventmkt_data.endpoint WHERE name = 'e1')" && receiver_notes "$log" || return 1
	from_commit "WHERE a.path LIKE '/n/%' AND a.path <> '/n/1'"
	echo "$(p 99)" >> "$BENCH_TMP/p99.$kind"
	[ -z "${BENCH_VERBOSE-}" ] || say "$kind: p50 $(p 50) p99 $(p 99) ms"
done
row "one endpoint of 200 hangs: p99 of the healthy ones" le 1.5 \
	"$(paste "$BENCH_TMP/p99.hang" "$BENCH_TMP/p99.all" | awk '{print $1 / $2}' | median)" "" \
	"$(median < "$BENCH_TMP/p99.hang") ms" "$(calc "$(median < "$BENCH_TMP/p99.all")" 1) ms" ""
pg_down

# the wake without preload
bench_up -c shared_preload_libraries= || return 1
sql -c "SELECT eventmkt.start_worker()" >/dev/null
endpoint shop / "max_in_flight => 64"
sql -c "SET client_min_messages = error" -c "SELECT eventmkt.create_rule('now', 'Now', send_to => 'shop')" >/dev/null
sleep 1
track_at 50 "$secs" "SELECT eventmkt.track(:u, 'Now', '{\"amount\": 1}');" || return 1
settled && receiver_notes "$log" || return 1
from_commit
row "commit → request without preload, 50 events/s: p99" le 50 "$(p 99)" ms "" "" "p50 $(p 50) ms, $(wc -l < "$BENCH_TMP/ms") requests"
pg_down
stop_receiver
