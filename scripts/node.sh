#!/usr/bin/env bash
# Runs a cluster of one node until it is interrupted, or ends the one that runs:
#   node.sh start|stop
# start builds nothing; BIN, GUEST and PORTHOLE_CACHE say where things are. While it runs,
# BIN/node-kubectl is kubectl in its namespaces.
set -euo pipefail
cd "$(dirname "$0")/.."
pidfile=$BIN/node.pid
kubectl=$BIN/node-kubectl

# first is the first process in the namespaces that the process given has made.
first() { tr -d ' ' < "/proc/$1/task/$1/children"; }

alive() { [ -f "$pidfile" ] && grep -qs netns "/proc/$(cat "$pidfile")/cmdline"; }

case ${1:-} in
stop)
  alive || { echo "no node is running"; exit; }
  outer=$(cat "$pidfile")
  kill -TERM "$(first "$(first "$outer")")"
  while [ -e "/proc/$outer" ]; do sleep 0.2; done
  ;;
start)
  alive && { echo "a node is running already: make node-stop ends it" >&2; exit 1; }
  kube=$(scripts/kube.sh linux)
  "$BIN/node" -fetch -cache "$PORTHOLE_CACHE"
  dir=/var/lib/porthole-node
  scripts/netns.sh "$BIN/node" -kube "$kube" -bin "$BIN" -guest "$GUEST" -cache "$PORTHOLE_CACHE" -dir "$dir" -kubectl "$kubectl" &
  outer=$!
  echo "$outer" > "$pidfile"
  cat > "$kubectl" <<EOF
#!/bin/sh
# kubectl of the cluster that make node started
first=\$(tr -d ' ' < /proc/$outer/task/$outer/children) || exit
exec nsenter -t "\$first" -n -m -p env KUBECONFIG=$dir/etc/admin.kubeconfig $kube/kubectl "\$@"
EOF
  chmod +x "$kubectl"
  trap 'rm -f "$pidfile" "$kubectl"' EXIT
  # A terminal's Ctrl-C reaches the cluster too, which then ends itself.
  trap : INT
  trap 'kill -TERM "$(first "$(first "$outer")")"' TERM
  code=0
  while :; do
    wait "$outer" && code=0 || code=$?
    [ -e "/proc/$outer" ] || exit "$code"
  done
  ;;
*)
  echo "usage: node.sh start|stop" >&2
  exit 2
  ;;
esac
