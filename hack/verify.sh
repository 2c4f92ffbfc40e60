#!/usr/bin/env bash
# Fails when a generated file is not what generation gives, or a file is not formatted, and says which. Run after
# "generate" and "manifests".
set -euo pipefail
cd "$(dirname "$0")/.."

generated=(api config charts)
dirty=$(git status --porcelain -- "${generated[@]}")
if [[ -n "$dirty" ]]; then
  echo "generated files are not up to date; run 'make generate manifests' and commit:" >&2
  echo "$dirty" >&2
  git --no-pager diff --stat -- "${generated[@]}" >&2
  exit 1
fi

unformatted=$(git ls-files '*.go' | xargs gofmt -l)
if [[ -n "$unformatted" ]]; then
  echo "not formatted; run gofmt -w: $unformatted" >&2
  exit 1
fi
