#!/usr/bin/env bash
# Runs one suite, says how long it took, and fails when it is over its budget:
#   suite.sh NAME BUDGET_SECONDS COMMAND [ARG ...]
# The lines also go to $PORTHOLE_SUITES when it names a file.
set -uo pipefail
name=$1 budget=$2
shift 2
printf '== %s (budget %d s)\n' "$name" "$budget"
start=$SECONDS
timeout --kill-after=20 "$budget" "$@"
code=$?
took=$((SECONDS - start))
result=ok
if [ "$code" = 124 ] || [ "$code" = 137 ]; then
  result="over its budget"
elif [ "$code" != 0 ]; then
  result="FAILED with exit code $code"
fi
line=$(printf '== %s: %s, %d s of %d s' "$name" "$result" "$took" "$budget")
printf '%s\n' "$line"
[ -z "${PORTHOLE_SUITES:-}" ] || printf '%s\n' "$line" >> "$PORTHOLE_SUITES"
exit "$code"
