// Package hcsfake is a Host Compute Service that is data: an hcs.Library for tests. It is strict where
// the real one might let something pass: documents are checked field by field against the
// schema as its reference has it (schema.go), resources by their grammar, files by access
// that was granted, and what the reference forbids a caller to do (close a handle under a running
// operation, use an operation twice) is noted as a misuse.
//
// A compute system of it runs no guest: whoever tests hangs one on OnStart.
//
// Each call can be made to fail, at once or at its operation's end, to wait, or to be
// joined by something else: Fail, Refuse, Hold, Before. A system can crash, exit, or be left
// alone by a service that restarts. String prints what there is.
//
// A Service is safe for concurrent use.
package hcsfake
