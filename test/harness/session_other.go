//go:build !linux

package harness

import "syscall"

// OwnSession does nothing on systems without sessions.
func OwnSession() *syscall.SysProcAttr { return nil }
