// Package winhost knows what Porthole needs of a Windows host, and says what is missing and
// what to do about it.
//
// It is not for what a configuration says (package config) nor for the guest's bundle. Facts are
// what is seen of the host, as data: Gather fills them on Windows, and tests anywhere. Check is
// a pure function of them; so is Explain, which knows the codes that Windows' services fail with.
//
// All functions are safe for concurrent use.
package winhost
