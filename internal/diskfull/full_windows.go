package diskfull

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// Number is what a write to a full disk fails with.
const Number = windows.ERROR_DISK_FULL

func full(no syscall.Errno) bool {
	return no == Number || no == windows.ERROR_HANDLE_DISK_FULL
}
