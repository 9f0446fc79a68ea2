package shim

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/api"
)

// guestStats are figures of a container, told at a moment of the guest's clock.
func guestStats(at time.Time, cpu time.Duration, memory uint64) *api.StatsResponse {
	return &api.StatsResponse{Containers: []*api.ContainerStats{{
		ContainerId: "c1",
		Group: &api.GroupStats{
			UnixNanos: at.UnixNano(), Cpu: &api.CPUStats{UsageNanos: uint64(cpu)},
			Memory: &api.MemoryStats{Usage: memory, InactiveFile: 1},
		},
		Writable: &api.WritableStats{UnixNanos: at.UnixNano(), Bytes: 4096},
	}}}
}

func TestStats(t *testing.T) {
	r := newRig(t)
	r.vm.guest.stats = func(context.Context) (*api.StatsResponse, error) {
		return guestStats(time.Now().Add(1000*time.Hour), time.Second, 100), nil
	}
	before := time.Now()
	vm, err := r.Stats(testContext(t), false)
	if err != nil {
		t.Fatal(err)
	}
	c := vm.Containers["c1"]
	if c.Group.CPU.Usage != time.Second || c.Group.Memory.WorkingSet() != 99 || c.Writable.Bytes != 4096 {
		t.Errorf("Stats = %+v %+v %+v", c.Group.CPU, c.Group.Memory, c.Writable)
	}
	for _, at := range []time.Time{c.Group.At, c.Writable.At} {
		if at.Before(before) || at.After(time.Now()) {
			t.Errorf("figures are of %s, want the host's time between the question and the answer", at)
		}
	}
}

// TestStats_Impossible: a guest that tells more than its VM has is not believed.
func TestStats_Impossible(t *testing.T) {
	r := newRigWith(t, func(c *ServerConfig) { c.VM.VCPUs, c.VM.MemoryMiB = 1, 64 })
	for name, told := range map[string]*api.StatsResponse{
		"cpu":    guestStats(time.Now(), time.Hour, 0),
		"memory": guestStats(time.Now(), 0, 65<<20),
	} {
		t.Run(name, func(t *testing.T) {
			r.vm.guest.stats = func(context.Context) (*api.StatsResponse, error) { return told, nil }
			if vm, err := r.Stats(testContext(t), false); !errdefs.IsDataLoss(err) {
				t.Errorf("Stats = %+v, %v, want DataLoss", vm, err)
			}
		})
	}
}

// TestStats_Older: neither an older agent nor an older shim is an empty answer.
func TestStats_Older(t *testing.T) {
	r := newRig(t)
	if _, err := r.Stats(testContext(t), false); !errdefs.IsNotImplemented(err) {
		t.Errorf("an older agent: %v, want NotImplemented", err)
	}
	older := r.Client.info
	older.Protocol = statsVersion - 1
	c := &Client{info: older}
	if _, err := c.Stats(testContext(t), false); !errdefs.IsNotImplemented(err) {
		t.Errorf("an older shim: %v, want NotImplemented", err)
	}
}

// TestStats_Hung: a guest that hangs is asked once, and who asks gets an answer when its
// time has passed.
func TestStats_Hung(t *testing.T) {
	r := newRig(t)
	var calls atomic.Int32
	hang := make(chan struct{})
	r.vm.guest.stats = func(ctx context.Context) (*api.StatsResponse, error) {
		calls.Add(1)
		<-hang
		return guestStats(time.Now(), time.Second, 1), nil
	}
	for range 3 {
		ctx, cancel := context.WithTimeout(testContext(t), 20*time.Millisecond)
		if _, err := r.Stats(ctx, false); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stats of a guest that hangs: %v, want DeadlineExceeded", err)
		}
		cancel()
	}
	close(hang)
	if _, err := r.Stats(testContext(t), false); err != nil {
		t.Errorf("when it goes on: %v", err)
	}
	if n := calls.Load(); n > 2 {
		t.Errorf("the guest was asked %d times, want once while it hung", n)
	}
}
