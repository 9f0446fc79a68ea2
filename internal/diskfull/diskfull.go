// Package diskfull knows the errors of a full disk on each system. It does nothing about
// them. It is safe for concurrent use.
package diskfull

import (
	"errors"
	"syscall"
)

// Is tells whether err comes from a disk, or a quota on one, that is full.
func Is(err error) bool {
	var no syscall.Errno
	return errors.As(err, &no) && full(no)
}
