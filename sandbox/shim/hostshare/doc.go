// Package hostshare opens folders and files of the host for a shim: it joins a backend of
// package share, its session, and the arbiter of locks and changes.
//
// It is not for what a share means, which is package share's, nor for who gets which.
//
// A Host lives as long as the shim; what it opens is closed before it. All is safe for
// concurrent use.
package hostshare
