// Package apps tests that applications keep their data on a host folder as on a disk of
// their own: each is initialised on an empty folder, loaded, killed without warning,
// started again and asked for what it had acknowledged; and the files are looked at on
// the host.
//
// PORTHOLE_APPS names where the containers run:
//
//   - pod: in pods of the built porthole, as `make test-apps` does;
//   - mount: on this machine, in a chroot, with the folder shown by the same file server
//     over this machine's own /dev/fuse: minutes instead of a quarter of an hour, and
//     without emulation a much higher load;
//   - folder: on this machine without a file server, to tell faults of a test from
//     those of the server;
//   - fetch: nowhere. It fills the cache, since the tests themselves run in a network
//     namespace without a way to Debian's archive.
//
// A machine is where containers run together: a pod, or the chroots of one test. The
// rest of a test is the same for all three.
package apps
