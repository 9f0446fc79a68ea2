// Package e2e tests a whole Porthole from outside: the built porthole binary with a
// real guest in real VMs, a real registry on loopback, Debian's CNI plugins, and crictl.
//
// It is a module of its own, so that the tools it pins stay out of Porthole's
// dependencies. `make e2e` runs it in a network namespace of its own, which has no way to
// Debian's archive: with PORTHOLE_E2E=fetch it only fills the cache, before.
package e2e
