#!/usr/bin/env bash
# Prints the path of libchdb.so, the ClickHouse engine that the store loads.
#
# The library comes from npm (178 MB), is checked against the digest below and
# kept in $KOHORT_CACHE, so that only the first call costs anything. A library
# of one's own is used as it is when CHDB_LIB_PATH names it.
set -euo pipefail

version=26.7.3-stable.1

# The integrity that npm records for each package: base64 of the tarball's
# SHA-512. A machine without an entry here has to bring its own library, for
# what nobody has checked is not loaded into the process that holds the data.
declare -A integrity=(
  [x64]=XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw==
)

fail() {
  echo "chdb.sh: $*" >&2
  exit 1
}

if [[ -n "${CHDB_LIB_PATH:-}" ]]; then
  [[ -f "$CHDB_LIB_PATH" ]] || fail "CHDB_LIB_PATH is $CHDB_LIB_PATH, where no file is: unset it or correct it"
  echo "$CHDB_LIB_PATH"
  exit 0
fi

cache=${KOHORT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kohort}
directory=$cache/chdb/$version
library=$directory/libchdb.so
if [[ -f "$library" ]]; then
  echo "$library"
  exit 0
fi

case "$(uname -s)-$(uname -m)" in
  Linux-x86_64) arch=x64 ;;
  Linux-aarch64) arch=arm64 ;;
  *) fail "no libchdb for $(uname -s) on $(uname -m): set CHDB_LIB_PATH to one that you built" ;;
esac
want=${integrity[$arch]:-}
[[ -n "$want" ]] ||
  fail "no digest is recorded for @chdb/lib-linux-$arch-gnu $version: fetch it with npm, check it, and set CHDB_LIB_PATH"
command -v npm >/dev/null || fail "npm is missing: install it (Debian: apt-get install npm), or set CHDB_LIB_PATH"

# Two calls at once must not write the same file: the second one waits, and
# then finds the library there.
mkdir -p "$directory"
exec 9>"$directory/.lock"
flock 9
if [[ ! -f "$library" ]]; then
  work=$(mktemp -d "$directory/.fetch-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  package=@chdb/lib-linux-$arch-gnu@$version
  echo "fetching $package (178 MB)" >&2
  (cd "$work" && npm pack --silent "$package" >/dev/null) || fail "fetching $package from npm failed"

  tarball=$(echo "$work"/*.tgz)
  got=$(node -e '
    const hash = require("crypto").createHash("sha512");
    require("fs").createReadStream(process.argv[1])
      .on("data", (chunk) => hash.update(chunk))
      .on("end", () => console.log(hash.digest("base64")));' "$tarball")
  [[ "$got" == "$want" ]] || fail "$package has the digest sha512-$got, but sha512-$want is recorded: it was changed or cut short; nothing was installed"

  tar -xzf "$tarball" -C "$work" package/libchdb.so
  chmod 0644 "$work/package/libchdb.so"
  mv "$work/package/libchdb.so" "$library"
fi
echo "$library"
