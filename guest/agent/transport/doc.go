// Package transport brings connections from the host to the agent: as streams of a
// yamux session on a virtio-serial port (QEMU), or as AF_VSOCK connections (Hyper-V).
// Both come out as a Conn with the port it was made to, and docs/wire.md describes both.
//
// It is not for what goes over a connection. ServeMux lives as long as its session, the
// vsock listeners as long as their context. Conns are safe for one reader and one
// writer at a time, and Close from anywhere.
package transport
