// Package mux is the host's end of the byte channel to a guest that carries many
// streams: a yamux client that opens streams to the agent's ports.
//
// It is not for the agent's end, and knows nothing of what streams carry. The guest is
// hostile: frames are checked before yamux sees them (guard.go), so that a guest can
// open no streams and make the host answer no pings, and thus can hold no more of the
// host's memory than the windows of the streams that the host opened.
//
// A Client is made by New and used until Close; it is safe for concurrent use.
package mux
