# Builds mke2fs and resize2fs as static programs.
# SRC: the source tree; SYSROOT: C library and headers; OUT: where they go.
set -eu
mkdir "$SRC/build"
cd "$SRC/build"
export CC="gcc --sysroot=$SYSROOT"
export BUILD_CC=gcc
export CFLAGS="-Os -g0 -ffile-prefix-map=$SRC=."
export LDFLAGS=-static
../configure --disable-nls --disable-uuidd --disable-fuse2fs --disable-defrag --disable-imager \
	--disable-debugfs --disable-e2initrd-helper --disable-tdb --disable-backtrace \
	--enable-libuuid --enable-libblkid --without-pthread
make -j"$JOBS" libs
make -j"$JOBS" -C misc mke2fs
make -j"$JOBS" -C resize resize2fs
strip -s misc/mke2fs resize/resize2fs
install -m 755 misc/mke2fs resize/resize2fs "$OUT/"
