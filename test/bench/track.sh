# track.sh: track() against a bare prepared INSERT into a table with the same partitions, columns and indexes. Four clients, one
# statement a transaction, synchronous_commit off, users drawn from 100,000 with skew. No worker runs: this is spine 1 alone.
bench_up -c eventmkt.enabled=off || return 1
make_bare
secs=$(scaled 10 2)
dir=$BENCH_TMP
p='{"sku": "sku-1042", "name": "Linen shirt", "price": 49.9, "amount": 49.9, "quantity": 1, "currency": "EUR", "cart_id": "c-77", "category": "c5"}'

cat > "$dir/bare.sql" <<'SQL'
\set u random_zipfian(1, 100000, 1.05)
INSERT INTO bench.event (profile_id, name, properties, occurred_at, received_at, depth)
	VALUES (:u, 'Product Viewed', :p, clock_timestamp(), clock_timestamp(), 0);
SQL
cat > "$dir/ours.sql" <<'SQL'
\set u random_zipfian(1, 100000, 1.05)
SELECT eventmkt.track(:u, 'Product Viewed', :p);
SQL
cat > "$dir/bare_id.sql" <<'SQL'
\set u random_zipfian(1, 100000, 1.05)
\set m random(1, 9000000000000000000)
INSERT INTO bench.event (profile_id, name, properties, occurred_at, received_at, depth, message_id)
	VALUES (:u, 'Product Viewed', :p, clock_timestamp(), clock_timestamp(), 0, :m);
SQL
cat > "$dir/ours_id.sql" <<'SQL'
\set u random_zipfian(1, 100000, 1.05)
\set m random(1, 9000000000000000000)
SELECT eventmkt.track(:u, 'Product Viewed', :p, message_id => :m);
SQL

rule() { sql -c "SET client_min_messages = error" -c "SELECT count(eventmkt.create_rule($1))${2-}" >/dev/null; }
# compare WHAT TARGET PEER OURS
compare() {
	versus "$dir/$3.sql" "$dir/$4.sql" 4 "$secs" -D "p=$p" || return 1
	row "$1" ge "$2" "$RATIO" "" "$OURS/s" "$PEER/s" "$OURS_CPU / $PEER_CPU µs = $CPU_RATIO"
}

compare "no rule names the event" 0.85 bare ours || return 1
compare "every call with a message_id" 0.65 bare_id ours_id || return 1

rule "'dormant', '*', unless => '{*}', after => '30 days', send_to => 'none'"
compare "the dormant recipe (\`*\`) on" 0.70 bare ours || return 1
sql -c "SELECT eventmkt.drop_rule('dormant')" >/dev/null

# 1,000 rules over 20 names; the conditions are no equalities, so each of the 50 is asked
rule "'r' || i, CASE WHEN i <= 50 THEN 'Product Viewed' ELSE 'Event ' || i % 19 END,
	('\$.amount >= ' || 1000000 + i)::jsonpath, send_to => 'none'" " FROM generate_series(1, 1000) i"
compare "1,000 rules, 50 name the event, none matches" 0.80 bare ours || return 1

rule "'match', 'Product Viewed', '\$.amount >= 10', send_to => 'none'"
compare "each event matches one rule" 0.65 bare ours || return 1

cat > "$dir/ten.sql" <<'SQL'
\set u random_zipfian(1, 100000, 1.05)
SELECT eventmkt.track(:u, 'Ten', :p);
SQL
cat > "$dir/many.sql" <<'SQL'
\set u random_zipfian(1, 100000, 1.05)
SELECT eventmkt.track(:u, 'Many', :p);
SQL
rule "'ten' || i, 'Ten', ('\$.category == \"c' || i || '\"')::jsonpath, send_to => 'none'" " FROM generate_series(1, 10) i"
rule "'many' || i, 'Many', ('\$.category == \"c' || i || '\"')::jsonpath, send_to => 'none'" " FROM generate_series(1, 10000) i"
versus "$dir/ten.sql" "$dir/many.sql" 4 "$secs" -D "p=$p" || return 1
row "CPU an event: 10,000 rules \`\$.category == \"cN\"\` against 10" le 1.1 "$CPU_RATIO" "" "$OURS/s" "$PEER/s" \
	"$OURS_CPU / $PEER_CPU µs"
pg_down
