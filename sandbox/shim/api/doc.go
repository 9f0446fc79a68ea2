// Package api is the wire between the daemon and a shim: the messages and the ttrpc
// service generated from shim.proto, and the header of streams. Only package
// sandbox/shim speaks it.
package api
