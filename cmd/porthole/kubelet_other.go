//go:build !linux && !windows

package main

import "runtime"

const windowsHost = false

func hostProcessors() int { return runtime.NumCPU() }

func hostMemory() (int64, error) { return 0, supported() }
