# test/lib.sh: shell functions for throw-away servers; `. test/lib.sh` from the top of the tree, in bash.
#
#   pg_sandbox         puts the private PostgreSQL copy (see test/sandbox) first: exports PG_CONFIG, PGBIN, PATH
#   pg_up [-p] [-c name=value]… [-d database]
#                      starts a cluster that lives until pg_down or the end of the script: initdb into a temporary folder,
#                      a unix socket in it, no TCP, fsync off; -p preloads the library; -d makes a database
#                      exports PGDATA PGHOST PGPORT PGUSER PGDATABASE, so a plain `psql` works; the log is $PGDATA.log
#   pg_down [-k]       stops it and removes the folder; -k keeps the folder (data, log)
#   pg_restart [mode]  stops (fast, or the given mode) and starts it again with the same settings
#   as_pg CMD…         runs CMD as the user who may run a server: itself, or `postgres` where we are root
#
# In scripts that test/run starts (make demo, make test, make bench) all is unprivileged, in a copy of the tree, and these
# are set: EMK_SRC (the tree as it lies at the developer's), PG_CONFIG, PGBIN, PATH with the sandbox first, HOME and TMPDIR
# (inside the scratch folder), EMK_DATA (folder with optional data sets; may be empty), NODE_PATH (test/node_modules).

# the PostgreSQL version to build against
pg_major() {
	local d best=
	if [ -n "${PG_MAJOR-}" ]; then echo "$PG_MAJOR"; return; fi
	if [ ! -d /usr/include/postgresql/15/server ]; then
		for d in /usr/include/postgresql/[1-9]*/server; do
			d=${d%/server}; d=${d##*/}
			if [ "$d" -ge 15 ] 2>/dev/null && [ "$d" -gt "${best:-0}" ]; then best=$d; fi
		done
	fi
	echo "${best:-15}"
}

pg_sandbox() {
	local dir=${SANDBOX:-$PWD/build/pg$(pg_major)}
	[ -x "$dir/lib/postgresql/$(pg_major)/bin/pg_config" ] || test/sandbox >&2 || return 1
	export SANDBOX=$dir
	export PGBIN=$dir/lib/postgresql/$(pg_major)/bin
	export PG_CONFIG=$PGBIN/pg_config
	case ":$PATH:" in *":$PGBIN:"*) ;; *) export PATH="$PGBIN:$PATH" ;; esac
}

as_pg() {
	if [ "$(id -u)" = 0 ]; then (cd / && exec runuser -u postgres -- env PATH="$PATH" "$@"); else "$@"; fi
}

pg_up() {
	local conf= db= preload= OPTIND o
	while getopts 'pc:d:' o; do
		case $o in
			p) preload=1 ;;
			c) conf+="${OPTARG%%=*} = '${OPTARG#*=}'"$'\n' ;;
			d) db=$OPTARG ;;
			*) return 2 ;;
		esac
	done
	[ -n "${PGBIN-}" ] || pg_sandbox || return 1
	PGUP_DIR=$(mktemp -d "${TMPDIR:-/tmp}/emk.XXXXXX") || return 1
	[ "$(id -u)" != 0 ] || chown postgres "$PGUP_DIR"
	export PGDATA=$PGUP_DIR/data PGHOST=$PGUP_DIR PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
	trap pg_down EXIT
	as_pg "$PGBIN/initdb" -D "$PGDATA" -U postgres -A trust -N --no-locale -E UTF8 >/dev/null || return 1
	[ -z "$preload" ] || conf+="shared_preload_libraries = 'eventmkt'"$'\n'
	{
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$PGUP_DIR'"
		echo "fsync = off"
		echo "max_connections = 60"
		echo "log_line_prefix = '%m [%p] %q%a '"
		printf '%s' "$conf"
	} | as_pg tee -a "$PGDATA/postgresql.conf" >/dev/null
	pg_start || return 1
	if [ -n "$db" ]; then
		"$PGBIN/createdb" "$db" || return 1
		export PGDATABASE=$db
	fi
}

pg_start() {
	as_pg "$PGBIN/pg_ctl" -D "$PGDATA" -l "$PGDATA.log" -w -t 60 start >/dev/null || { tail -20 "$PGDATA.log" >&2; return 1; }
}

pg_restart() {
	as_pg "$PGBIN/pg_ctl" -D "$PGDATA" -w -t 60 -m "${1:-fast}" stop >/dev/null || return 1
	pg_start
}

pg_down() {
	[ -n "${PGUP_DIR-}" ] || return 0
	if [ -f "$PGDATA/postmaster.pid" ]; then
		as_pg "$PGBIN/pg_ctl" -D "$PGDATA" -w -t 60 -m fast stop >/dev/null 2>&1 ||
			as_pg "$PGBIN/pg_ctl" -D "$PGDATA" -w -t 30 -m immediate stop >/dev/null 2>&1
	fi
	[ "${1-}" = -k ] || rm -rf "$PGUP_DIR"
	PGUP_DIR=
}
