//go:build !windows

package layer

import "syscall"

func diskFull(no syscall.Errno) bool { return no == syscall.ENOSPC || no == syscall.EDQUOT }
