// Command critrun, as `make critest` calls it, runs the suite critest of
// sigs.k8s.io/cri-tools against a server of its own and holds its result against what is
// expected of it.
//
//	critrun [-transport spdy|websocket] [-parallel N] [-focus RE] -bin DIR -guest DIR -cache DIR
//	critrun -fetch -cache DIR
//
// The suite's images come from a registry on loopback, which the server takes for
// registry.k8s.io and the others by hosts.toml; they are stand-ins of Debian packages
// (images.go). -fetch fills the cache with the packages, since the suite itself runs in a
// network namespace without a way to Debian's archive.
//
// expected.go names each spec that does not pass and why. A run fails when another one
// does not pass, when one of these does, and when one of these is no spec of the suite.
// docs/conformance.md has the same list for readers, and a test compares them.
package main
