#!/usr/bin/env bash
# Installs what the tests and the demo need from Debian and is missing, and says what it does. The local cluster
# installs its own packages when it starts.
set -euo pipefail

missing=()
compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)

for command in go npm git; do
  command -v "$command" >/dev/null || { echo "host.sh: $command is missing: install Go 1.26, Node.js with npm, and git first" >&2; exit 1; }
done
((${#missing[@]})) || exit 0

if ! command -v apt-get >/dev/null || [[ $EUID -ne 0 ]]; then
  echo "host.sh: install these Debian packages first, or run as root on Debian: ${missing[*]}" >&2
  exit 1
fi

# Only the server's programs are wanted: no server of the host's own is to be started.
mkdir -p /etc/postgresql-common
[[ -e /etc/postgresql-common/createcluster.conf ]] || echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf

echo "installing ${missing[*]}"
log=$(mktemp)
if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
  -o Dpkg::Options::=--force-confold "${missing[@]}"; } >"$log" 2>&1; then
  tail -20 "$log" >&2
  exit 1
fi
rm -f "$log"
