// Package streaming serves exec, attach and port-forward over HTTP, as CRI clients
// expect: a CRI call hands out a URL, and the client upgrades a connection to it to
// SPDY or WebSocket. SPDY and older WebSocket protocols are those of
// k8s.io/cri-streaming; this package adds the newer ones, and what a server needs around
// them: URLs that work once, contexts that end when the client goes away, and an end that
// waits for what runs.
//
// It knows neither pods nor containers: an [Executor] does the work and gets plain
// types. It also knows no CRI types: the caller turns requests into [Request].
//
// # Life cycle
//
// New listens, so that URLs can be made; Serve answers until its context ends or Close
// is called. A URL carries a random token that is good for one request within a minute.
// The context of an Executor call ends when the client's connection ends, when the
// server closes, or when the call returns.
//
// Clients speak, for exec and attach, SPDY/3.1 with v1 to v4 of channel.k8s.io (kubelet)
// or WebSocket with v5 or v4 of it, or none, also in base64; for port-forward
// portforward.k8s.io over SPDY/3.1, by itself or through a WebSocket, or
// v4.channel.k8s.io. SPDY and v5 can close standard input alone; the others end with the
// connection.
//
// All methods are safe for concurrent use.
//
// [Sync] runs a command and keeps its output, bounded, for the call without streams.
package streaming
