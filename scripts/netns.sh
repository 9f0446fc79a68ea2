#!/usr/bin/env bash
# Runs a command in a network and mount namespace of its own, loopback up, so that
# bridges, taps and rules of a test never touch the machine's network:
#   netns.sh COMMAND [ARG ...]
set -euo pipefail
exec unshare --net --mount --propagation private bash -c '
  ip link set lo up
  mount -t tmpfs -o mode=0755 tmpfs /run/netns 2>/dev/null || { mkdir -p /run/netns; mount -t tmpfs -o mode=0755 tmpfs /run/netns; }
  exec "$@"' netns "$@"
