// Package memfs is a share.Backend in memory, for tests: it does what the contract says
// of hard links, files open without a name, sparse data, extended attributes, rename and
// its flags, and tells of changes as a host's watcher would. It is not a file system to
// keep anything in.
//
// A test makes changes of the host's through Host, and of a guest's through the backend:
// both are the same tree, and events say who it was. All may be used from any goroutine.
package memfs
