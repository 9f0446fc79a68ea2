//go:build !linux && !windows

package shim

import (
	"context"
	"errors"
	"os"
	"os/exec"
)

func startTime(int) (string, error) { return "", errors.ErrUnsupported }

func (processID) awaitEnd(context.Context) {}

func detach(*exec.Cmd) {}

func closeReady() error { return errors.ErrUnsupported }

func protect() error { return errors.ErrUnsupported }

func passedFile(int, string) *os.File { return nil }

func passedPath(f *os.File) string { return f.Name() }

var terminate os.Signal = os.Kill
