package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/porthole-run/porthole/deploy"
	"github.com/porthole-run/porthole/test/harness"
)

// end removes the pods of a demo that was left running, and ends its processes.
func end(ctx context.Context, o options) error {
	pid, running := alive(o, "server", "porthole")
	if !running {
		fmt.Println("no server of a demo is running")
	} else {
		s, err := harness.New(harness.Config{Dir: o.dir, Bin: o.bin, Guest: o.guest, CNIConf: deploy.CNIConf})
		if err != nil {
			return err
		}
		if err := s.Connect(); err != nil {
			return err
		}
		if err := s.RemovePods(ctx); err != nil {
			return fmt.Errorf("remove pods: %w", err)
		}
		if err := terminate(ctx, pid); err != nil {
			return err
		}
		fmt.Println("the server is stopped, its pods are removed")
	}
	if pid, running := alive(o, "registry", "demo"); running {
		if err := terminate(ctx, pid); err != nil {
			return err
		}
		fmt.Println("the registry is stopped")
	}
	return os.RemoveAll(o.dir)
}

// alive reads a pid file and checks that the process is still the program it names.
func alive(o options, name, program string) (int, bool) {
	text, err := os.ReadFile(pidFile(o, name))
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, false
	}
	exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
	return pid, err == nil && strings.HasPrefix(filepath.Base(exe), program)
}

func terminate(ctx context.Context, pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		// Signal 0 only asks whether the process is there.
		if err := p.Signal(syscall.Signal(0)); errors.Is(err, os.ErrProcessDone) || errors.Is(err, syscall.ESRCH) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d does not end: %w", pid, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
