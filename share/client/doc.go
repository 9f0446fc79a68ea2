// Package client is a guest's kernel in miniature: it speaks FUSE to a share.Session
// within the process, and gives processes the system calls of package card over it. So
// the checks of package card run where there is no FUSE, on Windows above all, and
// tests of sessions need no mount and no rights.
//
// It does what Linux does above a FUSE file system that is mounted with
// default_permissions: it walks paths, resolves symbolic links, checks permissions,
// applies the umask, counts lookups and forgets, clears what must be cleared, keeps
// offsets. It caches nothing: what it shows is what the server says. It has no memory
// mappings and no O_DIRECT, and does not act as a FIFO or device when one is opened:
// these are the kernel's own and say nothing about a server.
//
// A Kernel is safe for concurrent use; a process of it does one call at a time.
package client
