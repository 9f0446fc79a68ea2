// Package share shows a host folder to a Linux guest with full POSIX meaning. It is a
// file server that speaks the FUSE protocol (package share/fuse) over a byte stream: the
// guest's kernel is the client, a relay in the guest carries whole messages between
// /dev/fuse and the stream.
//
// A Backend is the host's side: share/hostfs on Linux, share/ntfs on Windows. A Session
// serves one Backend to one guest over one stream, and ends with it; node ids, handles
// and locks of the guest live and die with the session. A Locker and Peers join the
// sessions of several VMs that have the same files.
//
// The package knows nothing of pods, VMs or the agent. It takes no path from the guest:
// a request names a node that the guest knows and one component below it. The guest is
// hostile: whatever it sends costs it its own connection at most.
package share
