#!/bin/sh
# Installs Debian packages as root without starting, stopping or making anything: no service starts,
# no cluster "main" is created, clusters that exist are not restarted.
#
# usage: install-debian.sh MAJOR PACKAGE...
set -eu

major=$1
shift

policy=/usr/sbin/policy-rc.d
settings=/etc/postgresql-common/createcluster.d
setting=$settings/billing-no-main-cluster.conf
cluster=/etc/postgresql/$major/main
data=/var/lib/postgresql/$major/main

had_settings=$([ -d "$settings" ] && echo yes || echo no)
had_cluster=$([ -e "$cluster" ] || [ -e "$data" ] && echo yes || echo no)
log=$(mktemp)

# dpkg asks this script before it starts or restarts a service; 101 forbids it.
forbid_services() {
	if [ -e "$policy" ] || [ -L "$policy" ]; then
		mv "$policy" "$policy.billing-saved"
	fi
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
}

forbid_main_cluster() {
	mkdir -p "$settings"
	echo 'create_main_cluster = false' >"$setting"
}

restore() {
	rm -f "$policy" "$setting" "$log"
	if [ -e "$policy.billing-saved" ] || [ -L "$policy.billing-saved" ]; then
		mv "$policy.billing-saved" "$policy"
	fi
	if [ "$had_settings" = no ]; then
		rmdir "$settings" "/etc/postgresql-common" 2>/dev/null || true
	fi
}

apt() {
	DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
		-o Dpkg::Options::=--force-confold "$@" </dev/null >>"$log" 2>&1
}

# A setting of this machine may have overruled ours; then the new, never started cluster goes again.
drop_new_cluster() {
	if [ "$had_cluster" = no ] && [ -e "$cluster" ]; then
		pg_dropcluster "$major" main
	fi
}

# The pooler is for tests that start their own; as a service nobody asked for it.
disable_pooler() {
	case " $* " in *' pgbouncer '*) ;; *) return 0 ;; esac
	if command -v systemctl >/dev/null 2>&1; then
		systemctl disable pgbouncer >>"$log" 2>&1 || true
	elif command -v update-rc.d >/dev/null 2>&1; then
		update-rc.d pgbouncer disable >>"$log" 2>&1 || true
	fi
}

trap restore EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if [ -e "$policy.billing-saved" ]; then
	# an earlier run was killed between the two
	mv "$policy.billing-saved" "$policy"
fi
forbid_services
forbid_main_cluster

apt update || true
if ! apt install -y --no-install-recommends --no-remove "$@"; then
	cat "$log" >&2
	exit 1
fi

drop_new_cluster
disable_pooler "$@"
