#!/usr/bin/env bash
# Runs every fuzz test for a time each: fuzz.sh 1m; or those that are named: fuzz.sh 1m FuzzBody FuzzMapping
set -euo pipefail
cd "$(dirname "$0")/.."
for_each=${1:-1m}
shift || true
wanted=" $* "
git grep -l '^func Fuzz' -- '*_test.go' | while read -r file; do
  package=./$(dirname "$file")
  sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file" | while read -r name; do
    [[ $wanted =~ ^\ *$ || $wanted == *" $name "* ]] || continue
    echo "== $name in $package for $for_each"
    go test -run '^$' -fuzz "^$name\$" -fuzztime "$for_each" "$package" </dev/null
  done
done
