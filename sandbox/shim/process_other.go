//go:build !linux && !windows

package shim

import (
	"errors"
	"os"
	"os/exec"
)

func startTime(int) (string, error) { return "", errors.ErrUnsupported }

func detach(*exec.Cmd) {}

func closeReady() error { return errors.ErrUnsupported }

func protect() error { return errors.ErrUnsupported }

func passedFile(int, string) *os.File { return nil }

var terminate os.Signal = os.Kill
