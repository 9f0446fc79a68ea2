// Package sandboxtest simulates what package sandbox works with: shims with their VMs
// and containers, images, the network, scratch disks and OCI specs, as one Node.
//
// A Node keeps state as data and prints it, so that tests compare what is left with a
// literal. It outlives Managers: a second Manager on the same Node is a daemon that was
// started again. It is for tests of sandbox and of what is built on it, and knows no
// VM, no process and no file.
//
// A Node is safe for concurrent use.
package sandboxtest
