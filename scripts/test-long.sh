#!/usr/bin/env bash
# What takes too long for each run. Prints a line per suite; docs/testing.md records the last run.
set -uo pipefail
cd "$(dirname "$0")/.."
export PORTHOLE_TEST_STRICT=1 PORTHOLE_LONG=1 PORTHOLE_SUITES=${PORTHOLE_SUITES:-$(mktemp)}
export E2E_TIMEOUT=40m
fuzztime=${FUZZTIME:-60s}
failed=0

suite() { scripts/suite.sh "$@" || failed=1; }

suite build 900 make --no-print-directory build guest tools
suite small-kernel 5400 make --no-print-directory guest KERNEL=small
suite e2e-debian 2400 make --no-print-directory e2e
suite e2e-small 2400 make --no-print-directory e2e KERNEL=small
suite e2e-boots 2400 env -u PORTHOLE_LONG PORTHOLE_E2E_TEMPLATE=off make --no-print-directory e2e
export PORTHOLE_GUEST=$PWD/out/guest-debian
# `go test` calls a pattern that no test has a success.
boots='^TestBoot_UnderLoad$'
go test -list "$boots" ./sandbox/qemuvm | grep -q '^Test' || { echo "no test is called $boots"; failed=1; }
suite boots-under-load 3600 go test -count=1 -v -timeout 55m -exec "$PWD/scripts/netns.sh" -run "$boots" ./sandbox/qemuvm
# Callers at random on a daemon whose host fails; docs/testing.md says how to repeat one.
suite stress 900 env CGO_ENABLED=1 PORTHOLE_STRESS_TIME=10m go test -race -count=1 -v -timeout 14m -run '^TestStress$' ./test/simnode
suite hcsemu 3600 make --no-print-directory test-hcsemu
suite critest 5400 make --no-print-directory critest LONG=1
# Every fuzz target for a while; `go test -fuzz` takes one target of one package at a time.
while read -r pkg; do
  for target in $(go test -list '^Fuzz' "$pkg" | grep '^Fuzz'); do
    suite "fuzz-$(basename "$pkg")-$target" 600 go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" "$pkg"
  done
done < <(go list ./...)
cat "$PORTHOLE_SUITES"
exit "$failed"
