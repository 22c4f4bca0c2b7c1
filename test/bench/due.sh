# due.sh: due runs to the outbox: taken, asked at the gates, decided, written as deliveries, in transactions of 2,000. No HTTP.
# Two tables: one with a tenth of the runs parked, and one with all of them and many consumed before, their dead entries at
# the head of the index of due times, as they are when vacuum has not been there yet.
bench_up -c eventmkt.enabled=off || return 1
PORT=18080
endpoint shop /
sql -c "SET client_min_messages = error" -c "SELECT eventmkt.create_rule('parked', 'Cart Left', unless => '{Order Completed}',
	after => '1 day', max_lateness => '30 days', send_to => 'shop')" >/dev/null
few=$(scaled 1000000 10000)
due=$(scaled 200000 20000)

# drain: moves what is due; sets RATE
drain() {
	local secs
	park "$due" "-1 minute" "-1 second" || return 1
	sql -c CHECKPOINT
	secs=$({
		echo "SELECT extract(epoch FROM clock_timestamp());"
		for ((i = 0; i < due; i += 2000)); do echo "SELECT eventmkt.run_due(2000);"; done
		echo "SELECT extract(epoch FROM clock_timestamp());"
		echo "SELECT (string_to_array(pg_read_file('/proc/self/schedstat'), ' '))[1];"
	} | sql -f - | awk 'NR == 1 {a = $1} {c = b; b = d; d = $1} END {print b - a, d}') || return 1
	RATE=$(calc "$due / ${secs% *}" 0) CPU=$(calc "${secs#* } / 1000 / $due" 1)
	[ "$(sql -c "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'queued'")" = "$due" ] || { echo "not all were sent" >&2; return 1; }
	sql -c "TRUNCATE eventmkt_data.delivery"
}
# rounds FILE
rounds() {
	local r
	rm -f "$BENCH_TMP/due" "$BENCH_TMP/due.cpu"
	for ((r = 0; r < ROUNDS; r++)); do
		drain || return 1
		echo "$RATE" >> "$BENCH_TMP/due"
		echo "$CPU" >> "$BENCH_TMP/due.cpu"
		[ -z "${BENCH_VERBOSE-}" ] || say "round $((r + 1)): $RATE/s $CPU µs"
	done
	RATE=$(median < "$BENCH_TMP/due") CPU=$(median < "$BENCH_TMP/due.cpu")
}

park "$few" "10 days" "40 days"
rounds || return 1
row "due runs to the outbox, $few parked" ge 20000 "$RATE" /s "" "" "$CPU µs a run"
small=$RATE small_cpu=$CPU
park $((few * 9)) "10 days" "40 days"
sql -c "ALTER TABLE eventmkt_data.pending_trigger SET (autovacuum_enabled = off)"
park $((few * 8)) "-10 days" "-1 day"
sql -c "DELETE FROM eventmkt_data.pending_trigger WHERE wake_at < eventmkt.clock()"
rounds || return 1
row "the same, $((few * 10)) parked and $((few * 8)) consumed before: time a run" le 1.2 "$(calc "$small / $RATE")" "" "$RATE/s" "$small/s" "$CPU / $small_cpu µs"
pg_down
