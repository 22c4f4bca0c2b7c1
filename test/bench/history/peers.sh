# peers.sh: ClickHouse from Debian and DuckDB from npm, unpacked into a folder of our own ($PEERS); nothing is installed.

peers_get() {
	mkdir -p "$PEERS/deb" "$PEERS/clickhouse"
	if [ ! -x "$PEERS/clickhouse/usr/sbin/clickhouse-server" ]; then
		local packages
		packages=$(apt-get install -s --no-install-recommends clickhouse-server 2>/dev/null | awk '/^Inst/ {print $2}')
		[ -n "$packages" ] || packages="clickhouse-server clickhouse-common"
		# shellcheck disable=SC2086
		(cd "$PEERS/deb" && apt-get download -q $packages >/dev/null 2>&1)
		for deb in "$PEERS"/deb/*.deb; do dpkg -x "$deb" "$PEERS/clickhouse" || return 1; done
		rm -rf "$PEERS/deb"
	fi
	if [ ! -d "$PEERS/node_modules/@duckdb/node-api" ]; then
		cp "$HERE/package.json" "$PEERS/"
		npm --prefix "$PEERS" install --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null || return 1
	fi
}

# ---- ClickHouse: a server of our own, asked over HTTP ----
clickhouse_up() {
	CH_DIR=$1 CH_PORT=$((20000 + RANDOM % 20000))
	mkdir -p "$CH_DIR"
	cat > "$CH_DIR/config.xml" <<XML
<yandex>
	<logger><level>warning</level><log>$CH_DIR/log</log><errorlog>$CH_DIR/err</errorlog></logger>
	<http_port>$CH_PORT</http_port><tcp_port>$((CH_PORT + 1))</tcp_port><listen_host>127.0.0.1</listen_host>
	<path>$CH_DIR/data/</path><tmp_path>$CH_DIR/tmp/</tmp_path><users_config>$CH_DIR/users.xml</users_config>
	<default_profile>default</default_profile><default_database>default</default_database>
	<mark_cache_size>5368709120</mark_cache_size><timezone>UTC</timezone>
</yandex>
XML
	cat > "$CH_DIR/users.xml" <<XML
<yandex>
	<profiles><default><max_threads>2</max_threads><max_memory_usage>20000000000</max_memory_usage></default></profiles>
	<users><default><password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default></users>
	<quotas><default></default></quotas>
</yandex>
XML
	LD_LIBRARY_PATH=$(find "$PEERS/clickhouse/usr/lib" -maxdepth 1 -type d -name '*-linux-gnu'):$PEERS/clickhouse/usr/lib \
		"$PEERS/clickhouse/usr/sbin/clickhouse-server" --config-file="$CH_DIR/config.xml" >"$CH_DIR/out" 2>&1 &
	CH_PID=$!
	for _ in $(seq 100); do
		[ "$(ch 'SELECT 1' 2>/dev/null)" = 1 ] && return 0
		sleep 0.2
	done
	tail -n 5 "$CH_DIR"/out "$CH_DIR"/err >&2
	return 1
}
ch() { curl -sS --fail-with-body "http://127.0.0.1:$CH_PORT/" --data-binary "$1"; }
clickhouse_down() { [ -z "${CH_PID-}" ] || { kill "$CH_PID" 2>/dev/null; wait "$CH_PID" 2>/dev/null; CH_PID=; } }
