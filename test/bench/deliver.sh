# deliver.sh: deliveries that lie in the outbox until each is delivered, settled and durable (synchronous_commit on, fsync on),
# signed, one worker, 64 in flight, against a bare libcurl multi loop with HMAC to the same receiver.
log=$BENCH_TMP/arrivals
bench_up -c eventmkt.max_in_flight=64 -c eventmkt.enabled=off || return 1
start_receiver "$log"
endpoint shop / "max_in_flight => 64"
sql -c "SET client_min_messages = error" -c "SELECT eventmkt.create_rule('now', 'Now', send_to => 'shop')" >/dev/null
n=$(scaled 200000 20000)
switch() { sql -c "ALTER SYSTEM SET eventmkt.enabled = $1" -c "SELECT pg_reload_conf()" >/dev/null; }

# deliver: sets RATE (first sent → last settled) and CPU (µs a delivery of the worker)
deliver() {
	local pid before
	sql -c "TRUNCATE eventmkt_data.delivery, eventmkt_data.attempt, eventmkt_data.event, eventmkt_data.work" \
		-c "INSERT INTO eventmkt_data.inbox (user_id, event, properties) SELECT 'u' || i, 'Now', '{\"sku\": \"sku-1042\", \"amount\": 49.9}' FROM generate_series(1, $n) i"
	[ "$1" != outbox ] || sql -c "SELECT eventmkt.run_due($n * 2)" >/dev/null
	sql -c "VACUUM ANALYZE eventmkt_data.delivery"
	settle_disk
	pid=$(worker_pid)
	before=$(worker_cpu "$pid")
	switch on
	wait_until 300 "SELECT NOT EXISTS (SELECT FROM eventmkt_data.work) AND NOT EXISTS (SELECT FROM eventmkt_data.delivery WHERE status IN ('queued', 'in_flight', 'retrying'))" || return 1
	CPU=$(calc "($(worker_cpu "$pid") - $before) / 1000 / $n" 1)
	switch off
	RATE=$(sql -c "SELECT round(count(*) / extract(epoch FROM max(settled_at) - min(first_sent_at))) FROM eventmkt_data.delivery WHERE status = 'delivered'")
	sleep 1.5
}
# compare KIND
compare() {
	local r side peer
	rm -f "$BENCH_TMP"/d.*
	for ((r = 0; r < ROUNDS; r++)); do
		for side in $([ $((r % 2)) = 0 ] && echo peer ours || echo ours peer); do
			if [ $side = ours ]; then
				deliver "$1" || return 1
				echo "$RATE" >> "$BENCH_TMP/d.ours"
				echo "$CPU" >> "$BENCH_TMP/d.ours.cpu"
			else
				peer=$("$BENCH_TMP/post" "http://127.0.0.1:$PORT/" "$n" 64 420) || return 1
				echo "${peer% *}" >> "$BENCH_TMP/d.peer"
				echo "${peer#* }" >> "$BENCH_TMP/d.peer.cpu"
			fi
		done
		[ -z "${BENCH_VERBOSE-}" ] || say "round $((r + 1)): $(tail -qn1 "$BENCH_TMP"/d.{ours,peer,ours.cpu,peer.cpu} | paste -sd' ')"
	done
	RATIO=$(calc "$(paste "$BENCH_TMP/d.ours" "$BENCH_TMP/d.peer" | awk '{print $1 / $2}' | median)")
}
compare outbox || return 1
row "deliveries stored and durable, one worker, 64 in flight" ge 0.30 "$RATIO" "" "$(median < "$BENCH_TMP/d.ours")/s" \
	"$(median < "$BENCH_TMP/d.peer")/s" "$(median < "$BENCH_TMP/d.ours.cpu") / $(median < "$BENCH_TMP/d.peer.cpu") µs"
note "A flush of the WAL took $(flush_ms) ms in the last round; each batch of at most 64 waits for one before its requests begin."
compare work || return 1
note "From work rows to delivered (runs decided and stored on the way): $(median < "$BENCH_TMP/d.ours")/s, $RATIO of the peer, $(median < "$BENCH_TMP/d.ours.cpu") µs of worker each."
pg_down
stop_receiver
