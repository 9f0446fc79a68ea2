#!/usr/bin/env bash
# The whole of `make test`: suites one after another, within 20 minutes in all. A suite
# that fails ends the run; the summary is printed either way.
set -uo pipefail
cd "$(dirname "$0")/.."
limit=${PORTHOLE_TEST_SECONDS:-1200}
export PORTHOLE_TEST_STRICT=1
PORTHOLE_SUITES=$(mktemp)
export PORTHOLE_SUITES
finish() {
  printf '\nmake test, %d s of %d s in all:\n' "$SECONDS" "$limit"
  cat "$PORTHOLE_SUITES"
  rm -f "$PORTHOLE_SUITES"
}
trap finish EXIT

suite() {
  local left=$((limit - SECONDS))
  [ "$left" -gt 0 ] || { echo "make test is over its $limit s" >&2; exit 1; }
  scripts/suite.sh "$1" "$left" "${@:2}" || exit
}

suite set-up scripts/setup.sh test
suite build make --no-print-directory build guest tools
suite lint make --no-print-directory lint
suite unit make --no-print-directory unit
suite end-to-end make --no-print-directory e2e
