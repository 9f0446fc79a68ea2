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
# patched makes, in a folder, a copy of Kubernetes with the patches, and a go.mod that uses it.
# (Go takes no overlay over what is in its module cache.)
patched() {
  local patch
  cp -r "$(go list -m -f '{{.Dir}}' k8s.io/kubernetes)" "$1/src"
  chmod -R u+w "$1/src"
  for patch in windows/*.patch; do
    (cd "$1/src" && git apply) < "$patch"
  done
  cp go.mod go.sum "$1/"
  go mod edit -replace "k8s.io/kubernetes=$1/src" "$1/go.mod"
}

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
    (cd "$tmp" && { apt-get download -qq -o APT::Sandbox::User=root etcd-server || { apt-get update -qq && apt-get download -qq -o APT::Sandbox::User=root etcd-server; }; } && dpkg-deb -x etcd-server_*.deb deb) >&2
    cp "$tmp/deb/usr/bin/etcd" "$tmp/bin/"
  else
    patched "$tmp"
    GOOS=windows go build -ldflags "$ldflags" -modfile "$tmp/go.mod" -o "$tmp/bin/" k8s.io/kubernetes/cmd/kubelet
  fi
  chmod 755 "$tmp/bin"
  mv -T "$tmp/bin" "$out" 2>/dev/null || [ -d "$out" ]
fi
echo "$out"
