// Package backendtest has the tests that every share.Backend passes: the contract of
// each method, errnos included. A backend's own tests run it over an empty folder. What
// a host's file system cannot do is named, with the reason, and the answer that the
// contract has for it is tested instead.
//
// Only tests import it.
package backendtest
