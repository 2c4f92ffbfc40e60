#!/usr/bin/env bash
# Runs every fuzz test for a time each: fuzz.sh 1m
set -euo pipefail
cd "$(dirname "$0")/.."
for_each=${1:-1m}
git grep -l '^func Fuzz' -- '*_test.go' | while read -r file; do
  package=./$(dirname "$file")
  sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file" | while read -r name; do
    echo "== $name in $package for $for_each"
    go test -run '^$' -fuzz "^$name\$" -fuzztime "$for_each" "$package" </dev/null
  done
done
