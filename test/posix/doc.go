// Command posix prints the POSIX card: the checks and random operations of share/card on
// this host's own file system, which is what they are measured by, and on each backend
// of package share, over the kernel in miniature of share/client and over this host's
// FUSE. docs/posix.md says how to read it.
//
//	posix [-only PART,...] [-systems PART,...] [-seeds N] [-steps N]
//	posix -run NAME -dir DIR
//
// The second form checks a folder of whoever's file system with real system calls, under
// the name of a system in the table of exceptions: it is how FUSE mounts are checked,
// apart from the process that serves them, and it runs in a guest.
package main
