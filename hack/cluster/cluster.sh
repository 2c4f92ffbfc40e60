#!/usr/bin/env bash
# Runs a Kubernetes cluster on this machine: cluster.sh help says how.
set -euo pipefail
directory=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$directory/../lib/run-module.sh"
run_module "$directory" "$@"
