// Package filelock keeps a second process from what one has taken: a lock on a file of
// its own, which ends with the process. It is not for locks within a process, nor for
// files that hold data. Take may be called from any goroutine.
package filelock
