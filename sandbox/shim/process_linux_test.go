package shim

import (
	"context"
	"os/exec"
	"testing"
	"time"
)

// TestProcessID_Wait: the end of a process that is another's child is seen, and the end of ctx.
func TestProcessID_Wait(t *testing.T) {
	cmd := exec.Command("sleep", "3600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	p, err := identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if p.wait(ctx) {
		t.Error("a process that runs is said to have gone")
	}
	if other := (processID{p.PID, p.Start + "0"}); !other.wait(t.Context()) {
		t.Error("a process of which another has the number is waited for")
	}
	gone := make(chan bool)
	go func() { gone <- p.wait(t.Context()) }()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// It is a zombie: nobody has waited for it.
	if !<-gone {
		t.Error("a process that was killed is said to run")
	}
	if !p.wait(ctx) {
		t.Error("a process that is gone is waited for when ctx has ended")
	}
}
