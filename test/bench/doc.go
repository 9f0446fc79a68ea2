// Command bench measures Porthole next to containerd with runc: the same CRI calls,
// image and CNI conf, on one machine, in one run, turn by turn. It prints a table and
// notes on the machine, and with -write puts both between the markers of a document.
//
//	out/bin/bench -fetch
//	scripts/netns.sh out/bin/bench [-n 10] [-pods 5] [-write docs/performance.md]
//
// It is no test: it has no bounds and fails only when a call fails. It needs root and
// network and mount namespaces of its own (scripts/netns.sh), and refuses to run in the
// machine's network, since it also mounts over folders that a containerd of the machine
// would use.
//
// Both servers live in one folder, on a file system that is made for the run. What a run
// makes is noted on an undo stack and taken down in reverse when it ends, also after
// errors, Ctrl-C and SIGTERM; a second Ctrl-C ends it at once.
package main
