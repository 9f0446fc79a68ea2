#!/usr/bin/env bash
# Installs what Porthole's build, tests and demo need on Debian 12, and only what is
# missing. Packages come through apt, so their signatures are checked. Idempotent.
#   setup.sh run|test|bench|wine|hcsemu
set -euo pipefail
want=${1:-run}

say() { printf '[setup] %s\n' "$*"; }
die() { printf '[setup] %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "this installs packages and starts VMs, so it needs root: use sudo make ${want}"
command -v apt-get >/dev/null || die "apt-get is not here: this set-up knows Debian 12 only"

packages=(
  ca-certificates git gcc libc6-dev make             # the build
  qemu-system-x86 containernetworking-plugins        # the VM, the pod network
  iproute2 iptables kmod e2fsprogs util-linux        # links, masquerading, modules, disks
  curl                                               # the demo's page
)
if [ "$want" = test ]; then
  packages+=(busybox-static zstd attr procps protobuf-compiler)
fi
if [ "$want" = wine ]; then
  packages=(
    ca-certificates git gcc libc6-dev make           # the build
    wine64 gcc-mingw-w64-x86-64                      # programs and DLLs for Windows
    e2fsprogs                                        # a look at layers
  )
elif [ "$want" = hcsemu ]; then
  packages+=(
    wine64 gcc-mingw-w64-x86-64                      # programs and DLLs for Windows
    qemu-utils                                       # disks as VHDX
    busybox-static zstd                              # the sample image
  )
elif [ "$want" != run ]; then
  packages+=(containerd runc)                        # the runtime beside ours
fi

missing=()
for p in "${packages[@]}"; do
  dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
done
if [ ${#missing[@]} -gt 0 ]; then
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
  say "all packages are there"
fi

# Go 1.21 or later can fetch the toolchain that go.mod names. Debian 12's own is older;
# its backports have one that is new enough.
go_ok() {
  local v
  v=$(go env GOVERSION 2>/dev/null) || return 1
  v=${v#go1.}; v=${v%%[!0-9]*}
  [ "${v:-0}" -ge 21 ]
}
PATH=/usr/lib/go-1.23/bin:$PATH:/usr/local/go/bin
if ! go_ok; then
  say "installing Go from Debian's backports"
  apt=$(mktemp -d)
  trap 'rm -rf "$apt"' EXIT
  mkdir -p "$apt/parts" "$apt/lists/partial"
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -v security | head -n 1)
  [ -n "$mirror" ] || die "no Debian mirror is configured in /etc/apt"
  cat > "$apt/parts/backports.sources" <<EOF
Types: deb
URIs: $mirror
Suites: bookworm-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
EOF
  # The machine's own sources stay as they are: these hold for this one call.
  sources=(-o "Dir::Etc::sourceparts=$apt/parts" -o Dir::Etc::sourcelist=/dev/null -o "Dir::State::lists=$apt/lists")
  apt-get "${sources[@]}" update -qq
  apt-get "${sources[@]}" install -y -qq --no-install-recommends golang-1.23-go >/dev/null
  go_ok || die "Go is still missing after the install"
fi
say "$(go version)"
