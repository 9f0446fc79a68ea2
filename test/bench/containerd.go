package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/porthole-run/porthole/test/harness"
)

// containerd is the peer that Porthole is measured against.
type containerd struct {
	runtime
	*harness.Containerd
}

// startContainerd runs it below dir, which must exist, with a CNI conf and a sandbox
// image, and waits until it is ready, 30 s at most.
func startContainerd(ctx context.Context, dir, pauseImage string, cniConf []byte) (*containerd, error) {
	h, err := harness.NewContainerd(dir, pauseImage, cniConf)
	if err != nil {
		return nil, err
	}
	c := &containerd{Containerd: h, runtime: runtime{
		name: containerdName, logs: filepath.Join(dir, "logs"),
		RuntimeServiceClient: h.RuntimeServiceClient, images: h.Images,
	}}
	if err := h.Start(ctx); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return c, nil
}

// stop removes the pods, ends containerd, its shims and what they run, and unmounts
// what is mounted in its folder. What already is as it should be is no error.
func (c *containerd) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	errs := []error{c.removePods(ctx), c.End()}
	all, err := harness.Processes()
	errs = append(errs, err)
	for _, shim := range containerdShims(all, c.Socket) {
		// Its children first: they would otherwise go on as children of init.
		for _, p := range append(harness.Children(all, shim.PID), shim) {
			errs = append(errs, kill(ctx, p.PID))
		}
	}
	return errors.Join(append(errs, c.Close(), unmountBelow(ctx, c.Dir))...)
}

// kill ends a process that is not ours to wait for, and waits until it is gone.
func kill(ctx context.Context, pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	if err := p.Kill(); err != nil {
		if errors.Is(err, os.ErrProcessDone) {
			return nil
		}
		return err
	}
	for p.Signal(syscall.Signal(0)) == nil {
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d does not end: %w", pid, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}
