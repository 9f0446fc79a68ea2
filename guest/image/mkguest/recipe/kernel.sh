# Builds the small kernel: everything built in, no modules.
# SRC: unpacked linux-source; FRAGMENT: kernel.fragment; OUT: where it goes.
set -eu
cd "$SRC"
make tinyconfig
scripts/kconfig/merge_config.sh -m -O . .config "$FRAGMENT"
make olddefconfig
# kconfig drops what it cannot set without a word.
lost=$(sed -nE 's/^(CONFIG_[A-Z0-9_]+=(y|"[^"]*"|-?[0-9]+))$/\1/p' "$FRAGMENT" | grep -vxFf .config || true)
[ -z "$lost" ] || { echo "kernel.fragment asks for what this kernel cannot set: $lost"; exit 1; }
make -j"$JOBS" vmlinux
strip -s -o "$OUT/vmlinux" vmlinux
cp .config "$OUT/config"
cat include/config/kernel.release > "$OUT/release"
