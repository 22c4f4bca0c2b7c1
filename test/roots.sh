# test/roots.sh: folders with the Debian releases that test/matrix and test/deb run in; `. test/roots.sh` in bash, as root.
#
#   need CMD PACKAGE     installs a package of this machine where its command is missing
#   make_root RELEASE    $roots/RELEASE, made once by debootstrap and kept; with apt's settings of this machine (proxies)
#   inside ROOT          runs the script on standard input in ROOT, in namespaces that take its mounts and processes along when it ends
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
		mount -t proc proc "$root/proc"
		mount --rbind /dev "$root/dev"
		mount -t tmpfs tmpfs "$root/dev/shm"
		mount -t sysfs sysfs "$root/sys"
		exec chroot "$root" /usr/bin/env -i HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
			PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /bin/bash -s' inside "$1"
}

tree() {
	git -c safe.directory='*' ls-files -z -co --exclude-standard | while IFS= read -r -d '' f; do
		[ ! -e "$f" ] || printf '%s\0' "$f"
	done
}
