// Package api is the agent protocol: the messages and the ttrpc service that the
// agent in a utility VM serves to the host. guest.proto is the source; the other
// files are generated from it by `make generate`.
//
// It is for the two ends of that wire alone, package guest on the host and package
// guest/agent in the guest. Both turn its messages into their own types at once.
package api
