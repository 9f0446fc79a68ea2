//go:build !windows

package diskfull

import "syscall"

// Number is what a write to a full disk fails with.
const Number = syscall.ENOSPC

func full(no syscall.Errno) bool { return no == Number || no == syscall.EDQUOT }
