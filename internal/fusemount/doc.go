// Package fusemount mounts a FUSE file system that is served over a stream: it opens
// /dev/fuse, mounts it, and starts the relay (guest/image/relay) between the two. The
// agent of a utility VM mounts shares with it, and tests do on the host.
//
// It is not for what is served, nor for where the stream comes from.
//
// A Mount lives until Unmount. When the relay ends before that, because the stream has,
// or was killed, the kernel's connection is aborted: all that waits for an answer gets an
// error, and the mount answers ENOTCONN from then on. A Mount is safe for concurrent use.
//
// The package is Linux-only, and mounting needs root.
package fusemount
