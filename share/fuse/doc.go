// Package fuse is the wire form of the FUSE protocol, version 7.38, as a Linux guest
// speaks it (include/uapi/linux/fuse.h), and of the control frames that server and relay
// of a share exchange beside it (docs/wire.md, "Shares"). It has the messages of both
// sides: a server decodes requests and appends replies, a test's client the other way
// round. It knows nothing of files: what the messages mean is package share's matter.
//
// A message is a frame that begins with its own length. All integers are little endian.
// Decode methods read from a Decoder, which checks bounds and remembers that it ran out;
// Decoder.End says at last whether the message had just what it should. Append methods
// add to a slice, in the manner of append. Values hold no state and may be used from any
// goroutine; a Reader and a Decoder by one at a time.
package fuse
