# test/roots.sh: folders with the Debian releases that test/matrix and test/deb run in; `. test/roots.sh` in bash, as root.
#
#   need CMD PACKAGE     installs a package of this machine where its command is missing
#   make_root RELEASE    $roots/RELEASE, made once by debootstrap and kept; with apt's settings of this machine (proxies)
#   inside ROOT          runs the script on standard input in ROOT, in namespaces that take its mounts and processes along when it ends
#   old_server MAJOR     the script that makes, in the root it runs in, PostgreSQL MAJOR of the Debian release that has it, with the extension
#                        built and installed, from the copy of the tree in the current folder; its place is /opt/pgMAJOR/lib/postgresql/MAJOR
#   tree                 names of the files of the tree, NUL-terminated: tracked and new ones, not the ignored ones
roots=${EMK_MATRIX:-/var/tmp/eventmkt-roots}
say() { echo "${0##*/}: $*" >&2; }

need() {
	command -v "$1" >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "$2" >&2
}

make_root() {
	local release=$1 root=$roots/$1
	[ ! -e "$root/.ready" ] || return 0
	need debootstrap debootstrap
	say "debootstrap $release"
	rm -rf "$root"
	debootstrap --variant=minbase --include=ca-certificates,make,git,procps,iproute2 "${release%%-*}" "$root" ${EMK_MIRROR:-} \
		>"$roots/$release.debootstrap.log" 2>&1 || { tail -5 "$roots/$release.debootstrap.log" >&2; return 1; }
	cp -L /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
	cp /etc/apt/apt.conf.d/*proxy* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
	# the index of an unstable release is short-lived, and a mirror may hand out an older one
	echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/90eventmkt"
	touch "$root/.ready"
}

inside() {
	unshare --mount --pid --fork --kill-child bash -c '
		root=$1
		mount --make-rprivate /
		mount --bind "$root" "$root"
		mount -t proc proc "$root/proc"
		mount --rbind /dev "$root/dev"
		mount -t tmpfs tmpfs "$root/dev/shm"
		mount -t sysfs sysfs "$root/sys"
		# no chroot: within one the kernel gives nobody a user namespace, and some tests need their own
		cd "$root"
		pivot_root . .
		umount -l .
		exec /usr/bin/env -i HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
			PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /bin/bash -s' inside "$1"
}

old_server() {
	cat <<-EOF
		major=$1 release=$(case $1 in 15) echo bookworm ;; 17) echo trixie ;; *) echo sid ;; esac)
	EOF
	cat <<-'EOF'
		set -e
		old=/opt/pg$major
		if [ ! -x $old/usr/lib/postgresql/$major/bin/pg_config ]; then
			rm -rf $old && mkdir -p $old/debs/lists/partial
			echo "deb $(sed -nE 's/^(deb|URIs:) (\[[^]]*\] )?(http[^ ]+).*/\3/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
				head -1) $release main" >$old/debs/sources
			# lists of its own: what is installed here stays what it is
			from=(-o Dir::Etc::sourcelist=$old/debs/sources -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists=$old/debs/lists
				-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=)
			apt-get -qq "${from[@]}" update
			cd $old/debs
			apt-get -qq "${from[@]}" download postgresql-$major postgresql-client-$major postgresql-server-dev-$major
			for f in *.deb; do dpkg -x $f $old; done
			# libraries that this release does not have, or under another name
			for n in $(dpkg-deb -f postgresql-${major}_*.deb Depends | tr ',' '\n' | grep -oE '^ *lib[^ |:]+'); do
				[ "$(dpkg-query -W -f '${db:Status-Status}' $n 2>/dev/null)" = installed ] || {
					apt-get -qq "${from[@]}" download $n && dpkg -x ${n}_*.deb $old/more
				}
			done
			for f in $old/more/usr/lib/*/*.so.*; do
				[ -e "${f/#$old\/more/}" ] || cp -a "$f" /usr/local/lib/
			done
			ldconfig
			cd - >/dev/null
		fi
		rm -rf $old/tree && cp -a . $old/tree
		(cd $old/tree && EMK_PG_HOME=$old/usr PG_MAJOR=$major SANDBOX=$old test/sandbox)
	EOF
}

tree() {
	git -c safe.directory='*' ls-files -z -co --exclude-standard | while IFS= read -r -d '' f; do
		[ ! -e "$f" ] || printf '%s\0' "$f"
	done
}
