package shim

import (
	"context"
	"errors"
	"os"
	"time"
)

// processID names a process for good: its number and when it started.
type processID struct {
	PID   int    `json:"pid"`
	Start string `json:"start"` // what the OS tells, unlike that of any other process with the number
}

// identify returns the full name of a process that runs.
func identify(pid int) (processID, error) {
	start, err := startTime(pid)
	return processID{PID: pid, Start: start}, err
}

// alive says whether the process still runs.
func (p processID) alive() bool {
	if p.PID <= 0 || p.Start == "" {
		return false
	}
	start, err := startTime(p.PID)
	return err == nil && start == p.Start
}

// signal sends a signal to the process and to no other that has its number by now.
func (p processID) signal(s os.Signal) error {
	proc, err := os.FindProcess(p.PID) // holds on to the process (pidfd), so that the check below lasts
	if err != nil {
		return nil // gone
	}
	defer proc.Release()
	if !p.alive() {
		return nil
	}
	if err := proc.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// wait returns true when the process has gone, false when ctx ends first. Where the OS does
// not tell of the end of a process that is not a child, it looks again and again.
func (p processID) wait(ctx context.Context) bool {
	if !p.alive() {
		return true
	}
	p.awaitEnd(ctx)
	pause := 2 * time.Millisecond
	for p.alive() {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return !p.alive()
		case <-timer.C:
		}
		pause = min(2*pause, 50*time.Millisecond)
	}
	return true
}
