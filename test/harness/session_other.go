//go:build !linux

package harness

import "syscall"

func ownSession() *syscall.SysProcAttr { return nil }
