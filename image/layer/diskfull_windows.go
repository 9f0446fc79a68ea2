package layer

import "syscall"

// diskFull knows ERROR_HANDLE_DISK_FULL and ERROR_DISK_FULL.
func diskFull(no syscall.Errno) bool { return no == 39 || no == 112 }
