#!/usr/bin/env bash
# Runs a command in network, mount and PID namespaces of its own, loopback up, so that
# the bridges, taps, rules and processes of a test never touch the machine's, and all of
# them end with it:
#   netns.sh COMMAND [ARG ...]
set -euo pipefail
# The shell stays the first process there: it reaps what is orphaned.
exec unshare --net --mount --propagation private --pid --fork --kill-child --mount-proc bash -c '
  ip link set lo up
  mkdir -p /run/netns
  mount -t tmpfs -o mode=0755 tmpfs /run/netns
  "$@"
  exit' netns "$@"
