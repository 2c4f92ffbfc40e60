#!/usr/bin/env bash
# Installs the Debian packages whose programs are missing on this machine.
#
#   host.sh              what building, testing and the demo need, but for the browser of "make sdk"
#   host.sh GROUP…       what one part needs: cluster, chdb, postgres, mariadb, sdk
#
# It does nothing, at once, where all is there, also on another distribution.
set -euo pipefail

# program and package, by group. A path is looked for as it stands.
needs_of() {
  case $1 in
    cluster)
      echo "containerd containerd
ctr containerd
runc runc
/usr/lib/cni/bridge containernetworking-plugins
iptables iptables
ip iproute2
socat socat
mount mount
nsenter util-linux" ;;
    chdb) echo "npm npm" ;;
    sdk) echo "npm npm
node nodejs
/usr/bin/chromium chromium" ;;
    postgres) echo "/usr/lib/postgresql/*/bin/postgres postgresql
/usr/share/zoneinfo/UTC tzdata" ;;
    mariadb) echo "mariadbd mariadb-server-core
/usr/bin/mariadb-install-db mariadb-server-core
/usr/bin/my_print_defaults mariadb-client-core" ;;
    base) echo "/etc/ssl/certs/ca-certificates.crt ca-certificates" ;;
    *)
      echo "host.sh: there is no group $1: cluster, chdb, postgres, mariadb, sdk and base are" >&2
      return 1 ;;
  esac
}

is_there() {
  # Administrators' programs are not in everybody's PATH.
  if [[ $1 == /* ]]; then
    compgen -G "$1" >/dev/null
  else
    PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin command -v "$1" >/dev/null
  fi
}

missing() {
  local group needs program package
  for group in "$@"; do
    needs=$(needs_of "$group")
    while read -r program package; do
      is_there "$program" || echo "$package"
    done <<<"$needs"
  done | sort -u
}

[[ $# -gt 0 ]] || set -- base cluster chdb postgres mariadb
packages=$(missing "$@")
[[ -n "$packages" ]] || exit 0

mapfile -t packages <<<"$packages"
if ! command -v apt-get >/dev/null; then
  echo "host.sh: programs of these Debian packages are missing, and there is no apt-get to install them: ${packages[*]}" >&2
  exit 1
fi
if [[ $EUID -ne 0 ]]; then
  echo "host.sh: these Debian packages are missing: run as root: apt-get install --no-install-recommends ${packages[*]}" >&2
  exit 1
fi

echo "installing Debian packages: ${packages[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
if printf '%s\n' "${packages[@]}" | grep -qx postgresql && [[ ! -e /etc/postgresql-common/createcluster.conf ]]; then
  # Only the server's files are wanted, not a database that runs from now on.
  mkdir -p /etc/postgresql-common
  echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
  apt-get install -y -q --no-install-recommends -o Dpkg::Options::=--force-confold "${packages[@]}" >"$log" 2>&1
}
# The package lists of a fresh machine are empty or old.
if ! install && ! { apt-get update -q >"$log" 2>&1 && install; }; then
  tail -20 "$log" >&2
  echo "host.sh: installing ${packages[*]} failed" >&2
  exit 1
fi

still=$(missing "$@")
if [[ -n "$still" ]]; then
  echo "host.sh: installed, but their programs are not found: ${still//$'\n'/ }" >&2
  exit 1
fi
