# shellcheck shell=bash
# Sourced by the scripts that start a Go program of a module of its own.
#
# run_module DIRECTORY ARGUMENT… builds the program in DIRECTORY, which costs
# nothing when nothing changed, and becomes it. `go run` would not do: it finds
# a module only from inside its directory, and then paths among the arguments
# would mean something else.

run_module() {
  local directory=$1 cache=${KOHORT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kohort}
  shift
  local program=$cache/hack/${directory##*/}
  mkdir -p "$cache/hack"
  (
    export CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false" GOWORK=off
    go -C "$directory" build -o "$program" .
  )
  KOHORT_MODULE_DIR=$directory exec "$program" "$@"
}
