# live.sh: what it costs the worker to keep the members of a hundred segments, and to count them. The worker's CPU is taken; the events
# are tracked before, while it pauses. People have twenty events each over sixty weeks.
# Steady: people do what they did before, so most events only prolong something. Changing: people who are new to it, so many events
# bring somebody in or out, which is a row, a timer and an event more, and the worker has yet to learn of them.
bench_up -c eventmkt.enabled=off || return 1
people=$(scaled 100000 5000)
events=$(scaled 200000 20000)
members=300000

sql -c "SELECT eventmkt.make_partitions(eventmkt.clock() - interval '60 weeks', eventmkt.clock())" >/dev/null
sql <<SQL
INSERT INTO eventmkt_data.profile (profile_id, traits, created_at, updated_at)
	SELECT 'p' || i, jsonb_build_object('tier', 't' || i % 20, 'age', i % 80), eventmkt.clock(), eventmkt.clock() FROM generate_series(1, $people) i;
INSERT INTO eventmkt_data.event (event_id, profile_id, name, properties, occurred_at, received_at, depth)
	SELECT nextval('eventmkt_data.event_id_seq'), 'p' || 1 + (i % $people), 'E' || (i / $people + i) % 30,
		jsonb_build_object('sku', 's' || i % 1000, 'amount', i % 100, 'currency', 'EUR', 'name', 'Linen shirt'),
		eventmkt.clock() - (i::bigint * 7919 % 36288000) * interval '1 second', eventmkt.clock(), 0 FROM generate_series(0, $people * 20 - 1) i;
VACUUM ANALYZE;
SET client_min_messages = error;
SELECT count(*) FROM (
	SELECT eventmkt.create_segment('tier ' || i, where_profile => format('\$.tier == "t%s"', i)::jsonpath, track_membership => true) FROM generate_series(0, 19) i UNION ALL
	SELECT eventmkt.create_segment('did ' || i, on_event => 'E' || i, within => '30 days', track_membership => true) FROM generate_series(0, 29) i UNION ALL
	SELECT eventmkt.create_segment('often ' || i, on_event => 'E' || i, where_event => '\$.amount >= 20', at_least => 3, within => '60 days', track_membership => true)
		FROM generate_series(0, 19) i UNION ALL
	SELECT eventmkt.create_segment('lapsing ' || i, on_event => 'E' || i, at_least => 2, within => '200 days', unless => ARRAY['E' || i], unless_within => '30 days',
		track_membership => true) FROM generate_series(20, 29) i UNION ALL
	SELECT eventmkt.create_segment('steps ' || i, steps => ARRAY['E' || i, 'E' || i + 1], within => '90 days', track_membership => true) FROM generate_series(0, 9) i UNION ALL
	SELECT eventmkt.create_segment('mixed ' || i, all_of => ARRAY['tier ' || i], none_of => ARRAY['did ' || i], track_membership => true) FROM generate_series(0, 9) i) s;
SQL

pid=$(worker_pid)
switch() { sql -c "ALTER SYSTEM SET eventmkt.enabled = $1" -c "SELECT pg_reload_conf()" >/dev/null; }
# cost N QUERY: lets the worker go on until the query says t; sets CPU (µs of it a row of N) and SECS
cost() {
	local before begun
	before=$(worker_cpu "$pid") begun=$(date +%s.%N)
	switch on
	wait_until 600 "$2" || return 1
	SECS=$(calc "$(date +%s.%N) - $begun") CPU=$(calc "($(worker_cpu "$pid") - $before) / 1000 / $1" 1)
	switch off
	sleep 1.5
}
weighed="SELECT NOT EXISTS (SELECT FROM eventmkt_data.segment_work)"
# happen NAME-EXPRESSION: tracks events of people, of whom `i` counts
happen() { sql -c "SELECT count(eventmkt.track('p' || 1 + (i * 7919) % $people, $1, jsonb_build_object('sku', 's' || i % 1000, 'amount', i % 100))) FROM generate_series(1, $events) i" >/dev/null; }

cost "$people" "SELECT NOT EXISTS (SELECT FROM eventmkt_bi.segments WHERE filling IS NOT NULL)" || return 1
note "filling 100 segments from the history of $people people: $CPU µs a person, $(sql -c "SELECT count(*) FROM eventmkt_data.membership") members"
sql -c "VACUUM ANALYZE"
# three times the same: most come in at the first, some at the second and third time they do something
for ((r = 0; r < 3; r++)); do
	sql -c "VACUUM ANALYZE"
	happen "'E' || i % 30"
	first=$(sql -c "SELECT count(*) FROM eventmkt_data.segment_work")
	before=$(sql -c "SELECT count(*) FROM eventmkt_data.event")
	cost "$first" "$weighed" || return 1
	note "changing: $CPU µs an event that matters; $first events, $(($(sql -c "SELECT count(*) FROM eventmkt_data.event") - before)) entries and exits"
done
rm -f "$BENCH_TMP/steady"
for ((r = 0; r < ROUNDS; r++)); do
	sql -c "VACUUM ANALYZE"
	before=$(sql -c "SELECT count(*) FROM eventmkt_data.event")
	happen "'E' || i % 30"
	relevant=$(sql -c "SELECT count(*) FROM eventmkt_data.segment_work")
	cost "$relevant" "$weighed" || return 1
	echo "$CPU" >> "$BENCH_TMP/steady"
done
row "100 live segments: steady, an event that matters" le 15 "$(median < "$BENCH_TMP/steady")" µs "" "" "$relevant events, $(calc "$relevant / $SECS" 0)/s"
before=$(sql -c "SELECT count(*) FROM eventmkt_data.segment_work")
happen "'Other ' || i % 30"
row "100 live segments: an event that does not matter, rows of work" le 0 "$(($(sql -c "SELECT count(*) FROM eventmkt_data.segment_work") - before))" "" "" "" ""

# ask SEGMENT prepared|plain: sets CPU, µs of a backend that decides one profile by the segment's view
ask() {
	local i
	CPU=$({
		echo "PREPARE w(text) AS SELECT true FROM eventmkt_bi.\"segment_$1\" WHERE profile_id = \$1;"
		echo "SET plan_cache_mode = force_generic_plan; EXECUTE w('p1'); EXECUTE w('p2');"
		echo "SELECT 'cpu ' || (string_to_array(pg_read_file('/proc/self/schedstat'), ' '))[1];"
		for ((i = 100; i < 300; i++)); do
			if [ "$2" = prepared ]; then echo "EXECUTE w('p$i');"; else echo "SELECT true FROM eventmkt_bi.\"segment_$1\" WHERE profile_id = 'p$i';"; fi
		done
		echo "SELECT 'cpu ' || (string_to_array(pg_read_file('/proc/self/schedstat'), ' '))[1];"
	} | sql -f - | awk '$1 == "cpu" {if (n++) printf "%.0f", ($2 - c) / 200000; c = $2}')
}
ask 'did 3' prepared && row "segment view for one profile of 60 weekly partitions, prepared, window of 30 days" le 300 "$CPU" µs "" "" ""
ask 'did 3' plain && row "the same, unprepared" le 3000 "$CPU" µs "" "" ""
for segment in 'often 1' 'lapsing 20'; do
	ask "$segment" prepared && prepared=$CPU
	ask "$segment" plain && note "the view of '$segment' (60 days; 200 days and an absence of 30) for one profile: $prepared µs prepared, $CPU µs unprepared"
done

sql -c "SELECT eventmkt.create_segment('many', on_event => 'Never', track_membership => true)" >/dev/null
sql -c "INSERT INTO eventmkt_data.membership SELECT segment_id, 'profile-' || i, eventmkt.clock() FROM eventmkt_data.segment, generate_series(1, $members) i
	WHERE name = 'many'" -c "VACUUM ANALYZE"
ms=$(for ((i = 0; i < 7; i++)); do sql -c '\timing on' -c "SELECT count(*) FROM eventmkt_bi.members WHERE segment = 'many'" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p'; done | median)
row "live membership count of $members" le 50 "$ms" ms "" "" ""
ms=$(for ((i = 0; i < 7; i++)); do sql -c '\timing on' -c "SELECT members FROM eventmkt_bi.segments WHERE name = 'many'" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p'; done | median)
note "the size that is kept, from eventmkt_bi.segments: $ms ms"
pg_down
