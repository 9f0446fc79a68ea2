package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Freeze stops all processes of a group and the groups below it, those that come into it
// later too, and returns when none runs. On error they are thawed.
func (c *FS) Freeze(ctx context.Context, group string) error {
	err := c.setFrozen(group, true)
	if err == nil {
		err = c.awaitFrozen(ctx, group)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("freeze cgroup: %w", err), c.Thaw(group))
	}
	return nil
}

// Thaw undoes Freeze. A group that is gone is not an error.
func (c *FS) Thaw(group string) error {
	err := c.setFrozen(group, false)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("thaw cgroup: %w", err)
	}
	return nil
}

func (c *FS) setFrozen(group string, frozen bool) error {
	value := "0"
	if frozen {
		value = "1"
	}
	return os.WriteFile(c.path(group, "cgroup.freeze"), []byte(value), 0)
}

// awaitFrozen waits for the kernel to say that all stand still: one in the middle of a
// system call that cannot be interrupted does so after it.
func (c *FS) awaitFrozen(ctx context.Context, group string) error {
	retry := time.NewTicker(time.Millisecond)
	defer retry.Stop()
	for {
		b, err := os.ReadFile(c.path(group, "cgroup.events"))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if strings.TrimSpace(line) == "frozen 1" {
				return nil
			}
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return fmt.Errorf("its processes do not all stand still: %w", ctx.Err())
		}
	}
}
