#!/usr/bin/env bash
# Installs what was built: install.sh BIN_FOLDER GUEST_FOLDER. Configuration that is
# there is left as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$1 guest=$2 dest=${DESTDIR:-}

put() { install -D "$@"; printf 'installed %s\n' "${*: -1}"; }
put_new() {
  if [ -e "${*: -1}" ]; then printf 'kept      %s\n' "${*: -1}"; else put "$@"; fi
}

put -m 0755 "$bin/porthole" "$dest/usr/local/bin/porthole"
for f in vmlinux initrd manifest.json; do
  put -m 0644 "$guest/$f" "$dest/usr/share/porthole/guest/$f"
done
put -m 0644 deploy/systemd/porthole.service "$dest/etc/systemd/system/porthole.service"
put_new -m 0644 deploy/config/config.toml "$dest/etc/porthole/config.toml"
put_new -m 0644 deploy/crictl.yaml "$dest/etc/crictl.yaml"
if compgen -G "$dest/etc/cni/net.d/*.conf*" > /dev/null; then
  printf 'kept      %s\n' "$dest/etc/cni/net.d"
else
  put -m 0644 deploy/cni/10-porthole.conflist "$dest/etc/cni/net.d/10-porthole.conflist"
fi
