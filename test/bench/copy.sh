# copy.sh: COPY eventmkt_data.inbox against COPY into the bare table, from one file, 1,000 rules over 50 event names.
bench_up -c eventmkt.enabled=off || return 1
make_bare
n=$(scaled 1000000 20000)
sql -c "SET client_min_messages = error" -c "SELECT count(eventmkt.create_rule('r' || i, 'Event ' || i % 50, ('\$.amount >= ' ||
	CASE WHEN i <= 50 THEN 95 ELSE 1000000 + i END)::jsonpath, send_to => 'none')) FROM generate_series(1, 1000) i" >/dev/null
for kind in few all; do
	awk -v n="$n" -v low="$([ $kind = few ] && echo 0 || echo 95)" -v now="$(date -u +%s)" 'BEGIN {
		srand(7)
		for (i = 0; i < n; i++) {
			u = int(100000 * rand() ^ 3)
			amount = low + int(rand() * (10000 - low * 100)) / 100
			printf "%d\tEvent %d\t{\"sku\": \"sku-%d\", \"name\": \"Linen shirt\", \"price\": %.2f, \"amount\": %.2f, \"quantity\": 1, \"currency\": \"EUR\", \"cart_id\": \"c-%d\"}\t%s\n",
				u, i % 50, u % 5000, amount, amount, u, strftime("%Y-%m-%d %H:%M:%S", now - 3600 + i * 3600 / n, 1) sprintf(".%06d+00", i % 1000000)
		}
	}' > "$BENCH_TMP/$kind.copy"
done

# copy_in SIDE FILE: sets SECS and CPU (µs a row)
copy_in() {
	local target='eventmkt_data.inbox (user_id, event, properties, occurred_at)' out
	[ "$1" = ours ] || target='bench.event (profile_id, name, properties, occurred_at)'
	out=$(sql -v ON_ERROR_STOP=1 <<-SQL
	SET synchronous_commit = off;
	CREATE TEMP TABLE cpu (line text);
	SELECT extract(epoch FROM clock_timestamp()), (string_to_array(pg_read_file('/proc/self/schedstat'), ' '))[1];
	\copy $target FROM '$2'
	SELECT extract(epoch FROM clock_timestamp()), (string_to_array(pg_read_file('/proc/self/schedstat'), ' '))[1];
	SQL
	) || return 1
	SECS=$(awk -F'|' 'NR == 1 {t = $1} NR == 2 {print $1 - t}' <<< "$out")
	CPU=$(awk -F'|' -v n="$n" 'NR == 1 {t = $2} NR == 2 {print ($2 - t) / 1000 / n}' <<< "$out")
}

# compare WHAT TARGET KIND
compare() {
	local r side sides
	rm -f "$BENCH_TMP"/c.*
	for ((r = 0; r < ROUNDS; r++)); do
		sides="peer ours"
		[ $((r % 2)) = 0 ] || sides="ours peer"
		for side in $sides; do
			empty_tables
			copy_in $side "$BENCH_TMP/$3.copy" || return 1
			echo "$SECS" >> "$BENCH_TMP/c.$side"
			echo "$CPU" >> "$BENCH_TMP/c.$side.cpu"
		done
		paste "$BENCH_TMP/c.peer" "$BENCH_TMP/c.ours" | tail -1 | awk '{print $1 / $2}' >> "$BENCH_TMP/c.ratio"
	done
	matched=$(sql -c "SELECT round(100.0 * (SELECT count(*) FROM eventmkt_data.work) / greatest((SELECT count(*) FROM eventmkt_data.event), 1), 1)")
	row "$1 ($n rows)" ge "$2" "$(calc "$(median < "$BENCH_TMP/c.ratio")")" "" \
		"$(calc "$n / $(median < "$BENCH_TMP/c.ours")" 0) rows/s" "$(calc "$n / $(median < "$BENCH_TMP/c.peer")" 0) rows/s" \
		"$(calc "$(median < "$BENCH_TMP/c.ours.cpu")" 1) / $(calc "$(median < "$BENCH_TMP/c.peer.cpu")" 1) µs a row"
}
compare "1,000 rules, 5 % of the rows match" 0.60 few || return 1
compare "1,000 rules, all rows match" 0.40 all || return 1
pg_down
