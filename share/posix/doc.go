// Package posix has Linux's numbers: errnos, file modes, open flags and the like, as
// the FUSE protocol of a Linux guest carries them (amd64's, include/uapi). They are
// defined here since a host need not be Linux, where package syscall has other numbers
// or none. The package calls nothing; all of it may be used from any goroutine.
package posix
