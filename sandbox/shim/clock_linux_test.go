package shim

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/porthole-run/porthole/guest"
	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/drivertest"
)

// TestQEMU_Clock compares a real guest's clock with the host's. With PORTHOLE_LONG=1 it
// goes on for two minutes in which four busy loops run, and nothing sets the clock.
func TestQEMU_Clock(t *testing.T) {
	testneed.Root(t)
	kernel, initrd := drivertest.Bundle(t)
	driver, err := qemuDriver(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	vm, err := driver.Create(ctx, sandbox.VMConfig{
		ID: "clock", Dir: t.TempDir(), VCPUs: 1, MemoryMiB: 256, Kernel: kernel, Initrd: initrd,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := vm.Stop(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}()
	client, err := boot(ctx, vm, guest.Connect, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	check := func(client *guest.Client) time.Duration {
		t.Helper()
		offset, doubt, err := client.ClockOffset(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if offset.Abs() > 100*time.Millisecond+doubt {
			t.Errorf("guest's clock is off by %s, give or take %s", offset, doubt)
		}
		t.Logf("off by %s, give or take %s", offset.Round(time.Microsecond), doubt.Round(time.Microsecond))
		return offset
	}
	first := check(client)
	if os.Getenv("PORTHOLE_LONG") != "1" {
		return
	}
	for range 4 {
		loop := exec.Command("/bin/sh", "-c", "while :; do :; done")
		if err := loop.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = loop.Process.Kill()
			_ = loop.Wait()
		}()
	}
	last := first
	for begin := time.Now(); time.Since(begin) < 2*time.Minute; {
		<-time.After(10 * time.Second)
		last = check(client)
	}
	t.Logf("drifted by %s in two minutes", last-first)
}
