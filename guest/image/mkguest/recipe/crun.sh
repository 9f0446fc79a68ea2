# Builds crun as one static program, without systemd (the guest has none).
# SRC: the source tree; SYSROOT: C library and headers; OUT: where it goes.
set -eu
cd "$SRC"
# Its own makefile asks git for this, which a source package does not have.
printf '#ifndef GIT_VERSION\n#define GIT_VERSION "%s"\n#endif\n' "$VERSION" > git-version.h
touch -r configure .version 2>/dev/null || printf '%s' "$VERSION" > .version

export CC="gcc --sysroot=$SYSROOT"
export CFLAGS="-O2 -g0 -fno-plt -ffile-prefix-map=$SRC=."
export PKG_CONFIG_SYSROOT_DIR="$SYSROOT"
export PKG_CONFIG_LIBDIR="$SYSROOT/usr/lib/x86_64-linux-gnu/pkgconfig:$SYSROOT/usr/share/pkgconfig"
LDFLAGS=-static ./configure --disable-systemd --disable-shared --disable-dl --disable-dependency-tracking
make -j"$JOBS" LDFLAGS=-all-static crun
strip -s crun
./crun --version
install -m 755 crun "$OUT/crun"
