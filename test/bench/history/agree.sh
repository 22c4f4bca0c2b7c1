#!/bin/bash
# test/bench/history/agree.sh: funnel(), sequence_match(), sequence_count() and retention() beside windowFunnel, sequenceMatch,
# sequenceCount and retention of ClickHouse on random short histories, in two halves: all times of a person differ, or many are equal.
# Prints how many people get another answer. BENCH_PEOPLE (default 20000); the seed is fixed. Needs what `make bench-history` fetches.
set -uo pipefail
cd "$(dirname "$0")/../../.."
. test/lib.sh
HERE=$PWD/test/bench/history
PEERS=${PEERS:-$PWD/build/bench-history}
PEOPLE=${BENCH_PEOPLE:-20000}
export PEERS HERE
. "$HERE/peers.sh"
WORK=$(mktemp -d "${TMPDIR:-/tmp}/emk-agree.XXXXXX")
finish() { clickhouse_down; pg_down; rm -rf "$WORK"; }
trap finish EXIT
pg_sandbox || exit 1
peers_get || exit 1
pg_up -d agree || exit 1
trap finish EXIT
sql() { psql -qAtX -v ON_ERROR_STOP=1 "$@"; }
clickhouse_up "$WORK/clickhouse" || exit 1

sql -c "SET timezone = 'UTC'" -c "CREATE EXTENSION eventmkt" -c "SELECT setseed(0.42)" -c "CREATE TABLE ev (ties boolean, p int, at timestamptz, e int)" -c "INSERT INTO ev
	SELECT ties, p, timestamptz '2024-01-01 UTC' + CASE WHEN ties THEN floor(random() * 5) * 10 ELSE row_number() OVER (PARTITION BY ties, p ORDER BY random()) * 7 + floor(random() * 3) END * interval '1 s',
	1 + floor(random() * 5)::int FROM (VALUES (false), (true)) t (ties), generate_series(1, $PEOPLE) p, generate_series(1, 1 + (p % 9)) i" >/dev/null
ch "CREATE TABLE ev (ties UInt8, p UInt32, ts DateTime, e UInt8) ENGINE = MergeTree() PARTITION BY tuple() ORDER BY (p, ts)"
sql -F $'\t' -c "SELECT ties::int, p, extract(epoch FROM at)::bigint, e FROM ev ORDER BY random()" > "$WORK/ev.tsv"
curl -sS --fail-with-body "http://127.0.0.1:$CH_PORT/?query=INSERT%20INTO%20ev%20FORMAT%20TabSeparated" -T "$WORK/ev.tsv" || exit 1

# what | ours | theirs
while IFS='|' read -r what ours theirs; do
	sql -F ' ' -c "SELECT ties::int, p, $ours FROM ev GROUP BY ties, p ORDER BY 1, 2" > "$WORK/a"
	ch "SELECT ties, p, $theirs FROM ev GROUP BY ties, p ORDER BY ties, p" | tr '\t' ' ' > "$WORK/b" || { echo "$what: $(cat "$WORK/b")"; continue; }
	for t in 0 1; do
		n=$(diff <(grep "^$t " "$WORK/a") <(grep "^$t " "$WORK/b") | grep -c '^<')
		echo "$what, $([ $t = 0 ] && echo 'times differ' || echo 'many equal times'): $n of $PEOPLE people"
		[ -z "${BENCH_VERBOSE-}" ] || [ "$n" = 0 ] || diff <(grep "^$t " "$WORK/a") <(grep "^$t " "$WORK/b") | head -4
	done
done <<'Q'
funnel|eventmkt.funnel('20 s', at, e = 1, e = 2, e = 3)|windowFunnel(20)(ts, e = 1, e = 2, e = 3)
funnel, a row may meet two steps|eventmkt.funnel('20 s', at, e IN (1, 2), e IN (2, 3), e = 4)|windowFunnel(20)(ts, e IN (1, 2), e IN (2, 3), e = 4)
the same, strict_once|eventmkt.funnel('20 s', at, 'strict_once', e IN (1, 2), e IN (2, 3), e = 4)|windowFunnel(20)(ts, e IN (1, 2), e IN (2, 3), e = 4)
sequence_match (?1).*(?2)|eventmkt.sequence_match('(?1).*(?2)', at, e = 1, e = 2)::int|sequenceMatch('(?1).*(?2)')(ts, e = 1, e = 2)
sequence_match (?1)(?t<=10)(?2)|eventmkt.sequence_match('(?1)(?t<=10)(?2)', at, e = 1, e = 2, e = 3)::int|sequenceMatch('(?1)(?t<=10)(?2)')(ts, e = 1, e = 2, e = 3)
sequence_match (?1)(?2)|eventmkt.sequence_match('(?1)(?2)', at, e = 1, e = 2, e = 3)::int|sequenceMatch('(?1)(?2)')(ts, e = 1, e = 2, e = 3)
sequence_count (?1).*(?2)|eventmkt.sequence_count('(?1).*(?2)', at, e = 1, e = 2, e = 3)|sequenceCount('(?1).*(?2)')(ts, e = 1, e = 2, e = 3)
retention|array_to_string(eventmkt.retention(e = 1, e = 2, e = 3)::int[], ' ')|arrayStringConcat(arrayMap(x -> toString(x), retention(e = 1, e = 2, e = 3)), ' ')
Q
