# session.sh: many track() commits in one session: each tenth measured by the backend's own CPU, and its memory.
bench_up -c eventmkt.enabled=off || return 1
n=$(scaled 100000 20000)
sql -c "SELECT eventmkt.create_rule('match', 'Product Viewed', '\$.amount >= 10', send_to => 'none')" \
	-c "SELECT eventmkt.create_rule('dormant', '*', unless => '{*}', after => '30 days', send_to => 'none')" >/dev/null
{
	echo "SET synchronous_commit = off;"
	for tenth in 0 1 2 3 4 5 6 7 8 9 10; do
		cat <<-SQL
		\\o
		SELECT (string_to_array(pg_read_file('/proc/self/schedstat'), ' '))[1],
			(SELECT sum(total_bytes) FROM pg_backend_memory_contexts),
			substring(pg_read_file('/proc/self/status') FROM 'RssAnon:\\s*(\\d+)');
		\\o /dev/null
		SELECT format('SELECT eventmkt.track(%L, %L, %L)', 'u' || (i * 7919) % 100000, 'Product Viewed',
			'{"amount": 49.9, "category": "c5"}') FROM generate_series($tenth * $((n / 10)), ($tenth + 1) * $((n / 10)) - 1) i \\gexec
		SQL
	done
} | head -n -2 > "$BENCH_TMP/session.sql"
sql -f "$BENCH_TMP/session.sql" > "$BENCH_TMP/session.out" || return 1
# of the first three tenths and the last three the cheapest: what else runs on the machine only adds
read -r first last memory rss < <(awk -F'|' -v n="$n" '
	function least(i,  j, v, best) { for (j = i; j < i + 3; j++) { v = (t[j + 1] - t[j]) / n / 100; if (!best || v < best) best = v } return best }
	{t[NR] = $1; m[NR] = $2; r[NR] = $3}
	END {print least(1), least(8), m[11] / m[2], r[11] / r[2]}' "$BENCH_TMP/session.out")
row "$n track() commits in one session: CPU at the end against the start" le 1.05 "$(calc "$last / $first")" "" "$(calc "$last" 1) µs" "$(calc "$first" 1) µs" ""
row "the same: memory contexts at the end against a tenth in" le 1.05 "$memory" "" "" "" ""
row "the same: resident memory (RssAnon)" le 1.05 "$rss" "" "$(tail -1 "$BENCH_TMP/session.out" | cut -d'|' -f3) kB" "" ""
pg_down
