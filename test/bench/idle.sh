# idle.sh: what a worker costs that has nothing to do while many runs are parked.
bench_up -c shared_preload_libraries=pg_stat_statements,eventmkt -c pg_stat_statements.track=all -c autovacuum=off || return 1
sql -c "CREATE EXTENSION pg_stat_statements" -c "SET client_min_messages = error" \
	-c "SELECT eventmkt.create_rule('parked', 'Cart Left', after => '1 day', send_to => 'none')" >/dev/null
parked=$(scaled 10000000 100000)
secs=$(scaled 60 15)
park "$parked" "10 days" "40 days"
sql -c "VACUUM ANALYZE eventmkt_data.pending_trigger" -c CHECKPOINT
sleep 6
pid=$(worker_pid)
sql -c "SELECT pg_stat_statements_reset()" >/dev/null
before=$(worker_cpu "$pid")
sleep "$secs"
after=$(worker_cpu "$pid")
calls=$(sql -c "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query !~ 'pg_stat_statements'")
row "idle with $parked parked: CPU of the worker over $secs s" le 0.5 "$(calc "($after - $before) / 1e7 / $secs" 2)" % "" "" ""
row "the same: statements a second" le 2 "$(calc "$calls / $secs" 1)" /s "" "" ""
note "$(sql -c "SELECT coalesce(string_agg(calls || ' × ' || left(regexp_replace(query, '\s+', ' ', 'g'), 90), '; ' ORDER BY calls DESC), 'no statement at all') FROM pg_stat_statements WHERE query !~ 'pg_stat_statements'")"
pg_down
