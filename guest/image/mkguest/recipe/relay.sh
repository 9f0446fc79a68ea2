# Builds the relay of shares as a static program.
# SRC: the folder with relay.c; SYSROOT: C library and headers; OUT: where it goes.
set -eu
gcc --sysroot="$SYSROOT" -static-pie -fPIE -O2 -g0 -std=gnu11 -pthread -Wall -Wextra -Werror \
	-fstack-protector-strong -D_FORTIFY_SOURCE=2 -Wl,-z,relro,-z,now,-z,noexecstack \
	-s -o "$OUT/relay" "$SRC/relay.c"
