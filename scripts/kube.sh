#!/usr/bin/env bash
# Builds what a node of Kubernetes is made of, once, and prints the folder with it:
#   kube.sh linux|windows
# linux: etcd (Debian's), and kube-apiserver, kube-controller-manager, kube-scheduler,
# kube-proxy, kubelet and kubectl of test/kube's go.mod. windows: kubelet.exe, with the
# patches of test/kube/windows. The folder is below $PORTHOLE_CACHE and is named after all
# that its content comes from.
set -euo pipefail
cd "$(dirname "$0")/../test/kube"
os=$1
export CGO_ENABLED=0 GOOS= GOFLAGS="${GOFLAGS:-} -trimpath"
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
minor=${version#v1.}
v=k8s.io/component-base/version
ldflags="-s -w -X $v.gitVersion=$version -X $v.gitMajor=1 -X $v.gitMinor=${minor%%.*}"
key=$({ echo "$os $ldflags $(go env GOVERSION GOARCH)"; cat go.mod go.sum ../../scripts/kube.sh; [ "$os" = linux ] || cat windows/*; } | sha256sum | cut -c 1-16)
out=$PORTHOLE_CACHE/kube/$os-$version-$key
if [ ! -d "$out" ]; then
  mkdir -p "$PORTHOLE_CACHE/kube"
  tmp=$(mktemp -d "$PORTHOLE_CACHE/kube/.build-XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  mkdir "$tmp/bin"
  echo "building Kubernetes $version for $os: minutes, once" >&2
  if [ "$os" = linux ]; then
    go build -ldflags "$ldflags" -o "$tmp/bin/" k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-proxy,kube-scheduler,kubectl,kubelet}
    # Not installed: Debian's package would start a service.
    (cd "$tmp" && { apt-get download -qq etcd-server || { apt-get update -qq && apt-get download -qq etcd-server; }; } && dpkg-deb -x etcd-server_*.deb deb) >&2
    cp "$tmp/deb/usr/bin/etcd" "$tmp/bin/"
  else
    GOOS=windows go build -ldflags "$ldflags" -overlay <(windows/overlay.sh "$tmp") -o "$tmp/bin/" k8s.io/kubernetes/cmd/kubelet
  fi
  chmod 755 "$tmp/bin"
  mv -T "$tmp/bin" "$out" 2>/dev/null || [ -d "$out" ]
fi
echo "$out"
