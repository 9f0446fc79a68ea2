#!/usr/bin/env bash
# Runs one step of a longer command, says what it is and how long it took:
#   step.sh WHAT COMMAND [ARG ...]
# The time also goes to $PORTHOLE_STEPS when it names a file, for a summary.
set -uo pipefail
what=$1
shift
printf '\n-- %s\n' "$what"
start=$EPOCHREALTIME
"$@"
code=$?
took=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%7.2f", b - a }')
printf '   %s s\n' "${took# }"
[ -z "${PORTHOLE_STEPS:-}" ] || printf '%s s  %s\n' "$took" "$what" >> "$PORTHOLE_STEPS"
exit "$code"
