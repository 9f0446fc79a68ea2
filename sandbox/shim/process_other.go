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

func makePrivate(string) error { return errors.ErrUnsupported }

func privately(f func() error) error { return f() }

func passedFile(int, string) *os.File { return nil }

var terminate os.Signal = os.Kill
