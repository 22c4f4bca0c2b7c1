# backtest.sh: rules tried on ten million events of a shop, and the year of everybody from roll-ups. One process each, so that CPU and time
# are of the same thing. The events are those of test/bench/history/gen.c: 490,000 people, ninety days.
bench_up -c eventmkt.enabled=off -c max_parallel_workers_per_gather=0 || return 1
events=$(scaled 10000000 100000)
gcc -O2 -o "$BENCH_TMP/gen" test/bench/history/gen.c -lm || return 1
chmod 711 "$BENCH_TMP"
sql >/dev/null <<SQL || return 1
SET client_min_messages = error;
SELECT eventmkt.make_partitions('2024-01-01', '2024-04-08');
CREATE UNLOGGED TABLE raw (id bigint, profile text COLLATE "C", name text COLLATE "C", at bigint, cart text, amount numeric);
\\copy raw FROM PROGRAM '$BENCH_TMP/gen $events'
INSERT INTO eventmkt_data.event (event_id, profile_id, name, properties, occurred_at, received_at, depth)
	SELECT id, profile, name, CASE WHEN cart IS NULL THEN '{}' WHEN amount IS NULL THEN jsonb_build_object('cart_id', cart)
		ELSE jsonb_build_object('cart_id', cart, 'amount', amount) END, to_timestamp(at), to_timestamp(at), 0 FROM raw ORDER BY id;
DROP TABLE raw;
VACUUM ANALYZE eventmkt_data.event;
SQL

# ask SQL: runs it, sets SECS and CPU (seconds)
ask() {
	local out
	out=$(sql <<-SQL
		SELECT extract(epoch FROM clock_timestamp()), (string_to_array(pg_read_file('/proc/self/schedstat'), ' '))[1];
		SET client_min_messages = warning;
		\\o /dev/null
		$1;
		\\o
		SELECT extract(epoch FROM clock_timestamp()), (string_to_array(pg_read_file('/proc/self/schedstat'), ' '))[1];
	SQL
	) || return 1
	read -r SECS CPU < <(awk -F'|' 'NR == 1 {t = $1; c = $2} END {printf "%.2f %.2f\n", $1 - t, ($2 - c) / 1e9}' <<< "$out")
}
# rounds NAME SQL: medians of SECS and CPU
rounds() {
	local r
	rm -f "$BENCH_TMP/bt" "$BENCH_TMP/bt.cpu"
	for ((r = 0; r < ROUNDS; r++)); do
		ask "$2" || return 1
		echo "$SECS" >> "$BENCH_TMP/bt"
		echo "$CPU" >> "$BENCH_TMP/bt.cpu"
		[ -z "${BENCH_VERBOSE-}" ] || say "$1: $SECS s, $CPU s of CPU"
	done
	SECS=$(median < "$BENCH_TMP/bt") CPU=$(median < "$BENCH_TMP/bt.cpu")
}
span="'2024-01-01', '2024-04-01'"
cart='{"name": "cart", "on_event": "Product Added", "where_event": "$.amount >= 50", "per": "cart_id", "unless": ["Order Completed"], "after": "24 hours"}'
viewed='{"name": "viewed", "on_event": "Product Viewed", "at_least": 3, "within": "7 days", "unless": ["Order Completed"], "after": "1 day"}'
rounds cart "SELECT count(*) FROM eventmkt.backtest('$cart'::jsonb, $span)" || return 1
row "backtest of one rule over $events events" le 5 "$SECS" s "" "" "$CPU s"
one=$SECS one_cpu=$CPU
rounds viewed "SELECT count(*) FROM eventmkt.backtest('$viewed'::jsonb, $span)" || return 1
row "the same of a rule that counts the event that is half of all" le 5 "$SECS" s "" "" "$CPU s"
rounds ten "SELECT count(*) FROM eventmkt.backtest('[$cart,
	{\"name\": \"ignore\", \"on_event\": \"Product Added\", \"per\": \"cart_id\", \"unless\": [\"Order Completed\"], \"after\": \"2 hours\", \"on_repeat\": \"ignore\", \"reentry\": \"7 days\"},
	{\"name\": \"check\", \"on_event\": \"Checkout Started\", \"unless\": [\"Order Completed\"], \"after\": \"1 hour\"},
	{\"name\": \"thanks\", \"on_event\": \"Order Completed\", \"after\": \"3 days\"},
	{\"name\": \"big\", \"on_event\": \"Product Added\", \"where_event\": \"\$.amount >= 100\", \"reentry\": \"30 days\"},
	{\"name\": \"three\", \"on_event\": \"Product Added\", \"at_least\": 3, \"within\": \"7 days\"},
	{\"name\": \"lapsed\", \"on_event\": \"Order Completed\", \"unless\": [\"Order Completed\"], \"after\": \"20 days\"},
	{\"name\": \"gold\", \"on_event\": \"Order Completed\", \"where_profile\": \"\$.tier == \\\"gold\\\"\", \"after\": \"1 day\"},
	{\"name\": \"second\", \"on_event\": \"Order Completed\", \"at_least\": 2},
	{\"name\": \"mailed\", \"on_event\": \"Email Opened\", \"unless\": [\"Product Added\"], \"after\": \"2 days\"}]'::jsonb, $span)" || return 1
row "ten rules in one go, in times of one" le 3 "$(calc "$SECS / $one" 2)" "" "$SECS s" "$one s" "$CPU / $one_cpu s"

sql -c "SELECT eventmkt.keep_rollups('cart_id', 'amount', 'Product Added')" -c "SELECT eventmkt.pack_timelines(1)" >/dev/null
ask "SELECT eventmkt.pack_timelines(1000)" || return 1
note "timelines and roll-ups of $events events packed in $SECS s, $CPU s of CPU"
sql -c "VACUUM ANALYZE eventmkt_data.rollup" -c "VACUUM ANALYZE eventmkt_data.profile_timeline"
people=$(sql -c "SELECT count(DISTINCT profile_id) FROM eventmkt_data.rollup")
rounds year "SELECT * FROM eventmkt.yearly_summary('2024-01-01')" || return 1
row "yearly_summary of $people profiles, streamed to a client" ge 50000 "$(calc "$people / $SECS" 0)" /s "" "" "$CPU s"
note "a roll-up takes $(sql -c "SELECT round(avg(pg_column_size(r))) FROM eventmkt_data.rollup") bytes on average"
pg_down
