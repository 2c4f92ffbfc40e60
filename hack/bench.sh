#!/usr/bin/env bash
# Runs the figures of docs/performance.md: bench.sh [NAME]. A figure is a Go benchmark that prints its own line,
#   NAME VALUE UNIT goal GOAL ok|short
# and stands in a function named BenchmarkFigure...
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:-}
KOHORT_FIGURE=$name go test -run '^$' -bench '^BenchmarkFigure' -benchtime 1x -timeout 60m ./internal/... |
  grep -E "^${name:-[a-z0-9-]+}[a-z0-9-]* [0-9.]+ .* goal .* (ok|short)$"
