# test/bench/lib.sh: what the groups share. Words: a round is one measurement of each side, ours and the peer's, one after the
# other; the order of the sides changes every round; a ratio is taken within a round and the median of rounds is reported.

SCALE=${BENCH_SCALE:-0.1}
ROUNDS=${BENCH_ROUNDS:-$(awk -v s="$SCALE" 'BEGIN {print (s >= 1 ? 5 : 3)}')}

# a whole number: $1 at scale 1, not below $2
scaled() { awk -v n="$1" -v s="$SCALE" -v min="${2:-1}" 'BEGIN {v = int(n * s + 0.5); print (v < min ? min : v)}'; }
calc() { awk "BEGIN {printf \"%.${2:-3}f\", $1}"; }
median() { sort -g | awk '{v[NR] = $1} END {if (NR) print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
# percentile P of the numbers on standard input
percentile() { sort -g | awk -v p="$1" '{v[NR] = $1} END {i = int(NR * p / 100 + 0.999999); if (NR) print v[i < 1 ? 1 : i]}'; }
sql() { psql -qAtX -v ON_ERROR_STOP=1 "$@"; }
say() { echo "   $*"; }

bench_setup() {
	local f
	BENCH_TMP=$(mktemp -d "${TMPDIR:-/tmp}/bench.XXXXXX")
	for f in recv:-lpthread post:"$(curl-config --libs) -lcrypto"; do
		[ -f "test/bench/${f%%:*}.c" ] || continue
		# shellcheck disable=SC2086
		gcc -O2 -std=c99 -D_GNU_SOURCE -Wall -Wextra -Werror -o "$BENCH_TMP/${f%%:*}" "test/bench/${f%%:*}.c" ${f#*:} || exit 1
	done
}

# bench_up [pg_up option]…: a cluster with realistic settings, everything durable, and a database with the extension
bench_up() {
	pg_up -c shared_preload_libraries=eventmkt -c fsync=on -c shared_buffers=1GB -c max_wal_size=8GB -c checkpoint_timeout=30min -c autovacuum=on \
		-c maintenance_work_mem=256MB -c max_worker_processes=16 -c track_commit_timestamp=on -c track_wal_io_timing=on \
		-c eventmkt.allowed_networks=127.0.0.0/8 -c eventmkt.allow_plain_http=on "$@" -d bench || return 1
	sql -c "CREATE EXTENSION eventmkt" -c "SET client_min_messages = warning" -c "SELECT count(*) FROM eventmkt.init()" \
		>/dev/null || return 1
}

# The bare peer: a table with the same partitions, columns and indexes as eventmkt_data.event, and nothing else.
make_bare() {
	sql <<-'SQL'
	CREATE SCHEMA bench;
	CREATE SEQUENCE bench.event_id_seq CACHE 64;
	CREATE TABLE bench.event (LIKE eventmkt_data.event INCLUDING DEFAULTS) PARTITION BY RANGE (occurred_at);
	ALTER TABLE bench.event ALTER event_id SET DEFAULT nextval('bench.event_id_seq'), ALTER depth SET DEFAULT 0,
		ALTER received_at SET DEFAULT clock_timestamp();
	CREATE INDEX ON bench.event (profile_id, occurred_at);
	DO $$
	DECLARE p record;
	BEGIN
		FOR p IN SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) AS bound FROM pg_inherits i
			JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'eventmkt_data.event'::regclass
		LOOP
			EXECUTE format('CREATE TABLE bench.%I PARTITION OF bench.event %s', p.relname, p.bound);
		END LOOP;
	END $$;
	SQL
}

empty_tables() {
	sql -c "TRUNCATE bench.event, eventmkt_data.event, eventmkt_data.work, eventmkt_data.message_key" -c CHECKPOINT
}

# cpu_watch NAME FILE: follows the backends with that application_name until they are gone; their CPU, in µs, goes to FILE
cpu_watch() {
	local pids=() p ns rest total last=0 fd tries=0
	exec {fd}<> <(:)
	while [ ${#pids[@]} -lt "$3" ] && [ $((tries++)) -lt 100 ]; do
		mapfile -t pids < <(sql -c "SELECT pid FROM pg_stat_activity WHERE application_name = '$1'")
		read -r -t 0.02 -u "$fd"
	done
	while :; do
		total=0
		for p in "${pids[@]}"; do
			{ read -r ns rest < "/proc/$p/schedstat"; } 2>/dev/null || break 2
			total=$((total + ns))
		done
		last=$total
		read -r -t 0.04 -u "$fd"
	done
	echo $((last / 1000)) > "$2"
}

# load SCRIPT CLIENTS SECONDS [pgbench option]…: one half of a round; sets TPS (a second) and CPU (µs of backend a transaction)
load() {
	local script=$1 clients=$2 secs=$3 out watcher
	shift 3
	PGAPPNAME=bench_watch cpu_watch bench_load "$BENCH_TMP/cpu" "$clients" &
	watcher=$!
	out=$(PGAPPNAME=bench_load PGOPTIONS='-c synchronous_commit=off' pgbench -n -M prepared -c "$clients" -j 1 -T "$secs" \
		-f "$script" "$@" 2>&1) || { echo "$out" >&2; kill $watcher; return 1; }
	wait $watcher
	TPS=$(sed -n 's/^tps = \([0-9.]*\).*/\1/p' <<< "$out")
	CPU=$(calc "$(cat "$BENCH_TMP/cpu") / $(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' <<< "$out")" 2)
}

# versus PEER-SCRIPT OUR-SCRIPT CLIENTS SECONDS [pgbench option]…: alternates; sets RATIO (ours / peer), OURS, PEER (a second) and
# OURS_CPU, PEER_CPU (µs a transaction), CPU_RATIO; the tables are emptied before each half
versus() {
	local r side sides peer=$1 ours=$2
	shift 2
	rm -f "$BENCH_TMP"/v.*
	for ((r = 0; r < ROUNDS; r++)); do
		sides="peer ours"
		[ $((r % 2)) = 0 ] || sides="ours peer"
		for side in $sides; do
			empty_tables
			load "${!side}" "$@" || return 1
			echo "$TPS" >> "$BENCH_TMP/v.$side"
			echo "$CPU" >> "$BENCH_TMP/v.$side.cpu"
		done
		paste "$BENCH_TMP/v.ours" "$BENCH_TMP/v.peer" | tail -1 | awk '{print $1 / $2}' >> "$BENCH_TMP/v.ratio"
		paste "$BENCH_TMP/v.ours.cpu" "$BENCH_TMP/v.peer.cpu" | tail -1 | awk '{print $1 / $2}' >> "$BENCH_TMP/v.cpu"
		[ -z "${BENCH_VERBOSE-}" ] || say "round $((r + 1)): $(tail -qn1 "$BENCH_TMP"/v.{ours,peer,ratio,ours.cpu,peer.cpu,cpu} | paste -sd' ')"
	done
	RATIO=$(calc "$(median < "$BENCH_TMP/v.ratio")") CPU_RATIO=$(calc "$(median < "$BENCH_TMP/v.cpu")")
	OURS=$(calc "$(median < "$BENCH_TMP/v.ours")" 0) PEER=$(calc "$(median < "$BENCH_TMP/v.peer")" 0)
	OURS_CPU=$(calc "$(median < "$BENCH_TMP/v.ours.cpu")" 1) PEER_CPU=$(calc "$(median < "$BENCH_TMP/v.peer.cpu")" 1)
}

# row WHAT OP TARGET VALUE UNIT OURS PEER CPU: one line of the table; OP is ge or le
row() {
	local verdict=miss
	[ -n "$4" ] && awk -v v="$4" -v t="$3" -v op="$2" 'BEGIN {exit !(op == "ge" ? v + 0 >= t + 0 : v + 0 <= t + 0)}' && verdict=met
	local sign=≥
	[ "$2" = ge ] || sign=≤
	printf '| %s | %s %s%s | %s%s | %s | %s | %s | %s |\n' "$1" "$sign" "$3" "${5:+ $5}" "${4:-?}" "${5:+ $5}" "$verdict" "$6" "$7" "$8" \
		>> "$BENCH_TMP/$GROUP.rows"
	printf '   %-6s %-62s %s%s (target %s %s)  %s | %s | %s\n' "$verdict" "$1" "${4:-?}" "${5:+ $5}" "$sign" "$3" "$6" "$7" "$8"
}

# note TEXT: a line under the group's table
note() {
	echo "$*" >> "$BENCH_TMP/$GROUP.notes"
	say "$*"
}

machine() {
	printf '%s cores, %s GB of memory, Linux %s, PostgreSQL %s' "$(nproc)" \
		"$(awk '/MemTotal/ {printf "%.0f", $2 / 1048576}' /proc/meminfo)" "$(uname -r)" \
		"$("$PGBIN/postgres" --version | awk '{print $3}')"
}

# write_section GROUP FILE: replaces what stands between the markers of the group, or appends it
write_section() {
	local group=$1 file=$2 new
	new=$BENCH_TMP/$group.md
	{
		echo "Scale $SCALE, $ROUNDS rounds; $(machine); load average at the end $(cut -d' ' -f1 /proc/loadavg)."
		echo
		echo "| what | target | result | | ours | peer | CPU |"
		echo "|---|---|---|---|---|---|---|"
		cat "$BENCH_TMP/$group.rows"
		if [ -s "$BENCH_TMP/$group.notes" ]; then
			echo
			sed 's/^/- /' "$BENCH_TMP/$group.notes"
		fi
	} > "$new"
	[ -f "$file" ] || echo "# Results of make bench" > "$file"
	grep -q "<!-- begin $group -->" "$file" || printf '\n## %s\n<!-- begin %s -->\n<!-- end %s -->\n' "$group" "$group" "$group" >> "$file"
	awk -v new="$new" -v b="<!-- begin $group -->" -v e="<!-- end $group -->" '
		$0 == b {print; while ((getline line < new) > 0) print line; skip = 1}
		$0 == e {skip = 0}
		!skip' "$file" > "$file.new" && mv "$file.new" "$file"
}

# ---- deliveries ----

# start_receiver LOG: sets PORT and RECEIVER
start_receiver() {
	rm -f "$BENCH_TMP/port"
	"$BENCH_TMP/recv" "$1" > "$BENCH_TMP/port" 2> /dev/null &
	RECEIVER=$!
	echo $RECEIVER > "$BENCH_TMP/receiver"
	until [ -s "$BENCH_TMP/port" ]; do read -r -t 0.05 <> <(:); done
	PORT=$(cat "$BENCH_TMP/port")
}

# receiver_notes LOG: has the receiver write down what came since the last time, and loads it into the table arrival
receiver_notes() {
	rm -f "$1"
	kill -USR1 "$RECEIVER"
	until [ -f "$1" ]; do read -r -t 0.05 <> <(:); done
	sql -c "SET client_min_messages = warning" -c "DROP TABLE IF EXISTS arrival" -c "CREATE UNLOGGED TABLE arrival (id uuid, us bigint, path text)" \
		-c "\\copy arrival FROM '$1'" \
		-c "ALTER TABLE arrival ADD at timestamptz" \
		-c "UPDATE arrival SET at = timestamptz 'epoch' + us * interval '1 microsecond'" -c "ANALYZE arrival"
}

# wait_until SECONDS QUERY: until the query says t
wait_until() {
	local end=$((SECONDS + $1))
	until [ "$(sql -c "$2")" = t ]; do
		[ $SECONDS -lt $end ] || { echo "waited $1 s in vain for: $2" >&2; return 1; }
		sleep 0.1
	done
}

# also called after a group that failed
stop_receiver() {
	[ ! -f "$BENCH_TMP/receiver" ] || kill "$(cat "$BENCH_TMP/receiver")" 2> /dev/null
	rm -f "$BENCH_TMP/receiver"
}

worker_pid() { sql -c "SELECT pid FROM pg_stat_activity WHERE backend_type ~ 'eventmkt' AND backend_type !~ 'launcher' LIMIT 1"; }
worker_cpu() { cut -d' ' -f1 "/proc/$1/schedstat"; }

# After bulk loading: until the disk is done with it, for a flush that waits behind it is not what is measured.
settle_disk() {
	sql -c CHECKPOINT
	sync
	sleep 2
	sql -c "SELECT pg_stat_reset_shared('wal')" >/dev/null
}
flush_ms() { sql -c "SELECT round((wal_sync_time / greatest(wal_sync, 1))::numeric, 2) FROM pg_stat_wal"; }

# endpoint NAME PATH [arguments]
endpoint() {
	local name=$1 path=$2
	shift 2
	sql -c "SET client_min_messages = error" -c "SELECT eventmkt.create_endpoint('$name', 'http://127.0.0.1:$PORT$path'${1:+, $1})" >/dev/null
}

# park COUNT FROM TO: runs of rule 1 that wake between the two intervals from now
park() {
	sql -c "INSERT INTO eventmkt_data.pending_trigger (run_id, node, rule_id, rule_version, profile_id, key, slot, state, started_at,
			event_id, event_name, event_at, properties, last_at, due_at, wake_at, received_at, created_at, depth)
		SELECT i.id, 0, r.rule_id, r.version, 'p' || (i.i::bigint * 7919 % 100000000), '', i.id, 'waiting', s.at, i.id, r.on_event, s.at,
			'{\"sku\": \"sku-1042\", \"name\": \"Linen shirt\", \"amount\": 49.9, \"cart_id\": \"c-77\"}', s.at, w.at, w.at, s.at, s.at, 0
		FROM (SELECT i, nextval('eventmkt_data.run_id_seq') AS id FROM generate_series(1, $1) i) i,
			LATERAL (SELECT eventmkt.clock() + interval '$2' + i.i * (interval '$3' - interval '$2') / $1 AS at) w,
			LATERAL (SELECT w.at - interval '1 day' AS at) s, eventmkt_data.rule r WHERE r.name = 'parked'"
}
