# Builds pause as a static program.
# SRC: the folder with pause.c; SYSROOT: C library and headers; OUT: where it goes.
set -eu
gcc --sysroot="$SYSROOT" -static -Os -g0 -Wall -Wextra -Werror -s -o "$OUT/pause" "$SRC/pause.c"
