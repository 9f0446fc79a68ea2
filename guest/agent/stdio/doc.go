// Package stdio joins processes to the streams that the host opens for them.
//
// The host opens a stream, sends the id it chose for it, and then names the id in a
// request. A stream and the request that claims it travel apart, so a Registry holds
// the streams that are waiting, and a claim waits for streams on their way. Relay and
// its kin then move bytes between a stream and a pipe or a terminal, each direction
// ending by itself.
//
// The package has no system calls of its own. Registry is safe for concurrent use.
package stdio
