package pool_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/pool"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

var small = pool.Class{VCPUs: 1, MemoryMiB: 256}

func ask(c pool.Class) sandbox.ShimConfig {
	return sandbox.ShimConfig{VCPUs: c.VCPUs, MemoryMiB: c.MemoryMiB}
}

// started runs a pool on a simulated node until the test's end, when it must have ended
// all that nobody took.
func started(t *testing.T, n *sandboxtest.Node, change func(*pool.Config)) *pool.Pool {
	t.Helper()
	c := pool.Config{Launcher: sandboxtest.Launcher{Node: n}, Class: small, Log: slog.New(slog.DiscardHandler)}
	change(&c)
	p := pool.New(c)
	p.Start(t.Context())
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
		if _, ok := take(t, p, ask(small)); ok {
			t.Error("a closed pool gives VMs")
		}
	})
	return p
}

// take takes a VM, whose connection is closed at the test's end.
func take(t *testing.T, p *pool.Pool, want sandbox.ShimConfig) (id string, ok bool) {
	t.Helper()
	id, shim, ok := p.Take(want)
	if ok {
		t.Cleanup(func() {
			if err := shim.Close(); err != nil {
				t.Errorf("close shim: %v", err)
			}
		})
	}
	return id, ok
}

func shims(t *testing.T, n *sandboxtest.Node) []string {
	t.Helper()
	ids, err := sandboxtest.Launcher{Node: n}.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func TestPool_Fixed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		p := started(t, n, func(c *pool.Config) { c.Fixed = 2 })
		synctest.Wait()
		if got := p.Status().Spares; got != 2 {
			t.Fatalf("%d spares, want 2", got)
		}
		id, ok := take(t, p, ask(small))
		if !ok || !slices.Contains(shims(t, n), id) {
			t.Fatalf("Take: %q, %t", id, ok)
		}
		// It is left alone for a while after a pod asked, and then made good.
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if got := p.Status().Spares; got != 1 {
			t.Errorf("%d spares right after one was taken, want 1", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := p.Status(); got.Spares != 2 || got.Counts.Hits != 1 || got.Counts.Made != 3 {
			t.Errorf("later: %+v, want 2 spares, 1 hit, 3 made", got)
		}
		if other, ok := take(t, p, ask(small)); !ok || other == id {
			t.Errorf("the next one is %q, %t", other, ok)
		}
	})
}

func TestPool_Sizes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := started(t, sandboxtest.New(), func(c *pool.Config) { c.Fixed = 1 })
		synctest.Wait()
		for _, tc := range []struct {
			want sandbox.ShimConfig
			ok   bool
		}{
			{sandbox.ShimConfig{VCPUs: 2, MemoryMiB: 256}, false},
			{sandbox.ShimConfig{VCPUs: 1, MemoryMiB: 320}, false},
			{sandbox.ShimConfig{VCPUs: 1, MemoryMiB: 64, MaxMemoryMiB: 128}, false},
			{sandbox.ShimConfig{VCPUs: 1, MemoryMiB: 64}, false}, // far too large
			{sandbox.ShimConfig{VCPUs: 1, MemoryMiB: 192, MaxVCPUs: 1}, true},
		} {
			if _, ok := take(t, p, tc.want); ok != tc.ok {
				t.Errorf("Take(%+v): %t, want %t", tc.want, ok, tc.ok)
			}
		}
	})
}

func TestPool_Demand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		p := started(t, n, func(c *pool.Config) { c.Max = 4 })
		time.Sleep(time.Minute)
		if got := p.Status().Spares; got != 0 {
			t.Fatalf("%d spares that nobody asked for", got)
		}
		for range 3 {
			if _, ok := take(t, p, ask(small)); ok {
				t.Error("a spare out of nothing")
			}
		}
		time.Sleep(5 * time.Second)
		if got := p.Status(); got.Spares != 3 || got.Counts.Misses != 3 {
			t.Errorf("after three pods at once: %+v, want 3 spares", got)
		}
		for range 9 { // one every six seconds is not at once
			time.Sleep(6 * time.Second)
			take(t, p, ask(pool.Class{VCPUs: 1, MemoryMiB: 512}))
		}
		time.Sleep(5 * time.Second)
		if got := p.Status(); got.Ready[small] != 3 || got.Ready[pool.Class{VCPUs: 1, MemoryMiB: 512}] != 1 {
			t.Errorf("after pods one by one: %v, want 3 small and 1 large", got.Ready)
		}
		time.Sleep(11 * time.Minute)
		if got := p.Status().Spares; got != 0 || len(shims(t, n)) != 8 {
			t.Errorf("long after: %d spares and %d VMs, want 0 and the 8 that were taken", got, len(shims(t, n)))
		}
	})
}

func TestPool_Budget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := started(t, sandboxtest.New(), func(c *pool.Config) { c.Fixed, c.Max, c.BudgetMiB = 5, 5, 600 })
		time.Sleep(time.Minute)
		if got := p.Status().Spares; got != 2 {
			t.Errorf("%d spares of 256 MiB in 600 MiB, want 2", got)
		}
	})
}

func TestPool_ScarceMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		var free atomic.Uint64
		var log bytes.Buffer
		free.Store(4000)
		p := started(t, n, func(c *pool.Config) {
			c.Fixed, c.LeastMiB = 3, 1000
			c.FreeMiB = func() (uint64, error) { return free.Load(), nil }
			c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
				ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
					if a.Key == slog.TimeKey {
						return slog.Attr{}
					}
					return a
				},
			}))
		})
		synctest.Wait()
		log.Reset()
		free.Store(999)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if got := len(shims(t, n)); got != 0 {
			t.Errorf("%d spares on a host without memory", got)
		}
		want := `level=WARN msg="spare VMs were ended: the host's memory is short" count=3 free_mib=999 least_mib=1000` + "\n"
		if got := log.String(); got != want {
			t.Errorf("log = %q, want %q", got, want)
		}
		free.Store(1000 + 255)
		time.Sleep(3 * time.Second)
		if got := p.Status(); got.Spares != 0 || got.Counts.Made != 3 {
			t.Errorf("with no room for one: %+v", got)
		}
		free.Store(2000)
		time.Sleep(3 * time.Second)
		if got := p.Status().Spares; got != 3 {
			t.Errorf("%d spares once there is memory again, want 3", got)
		}
	})
}

func TestPool_DeadSpare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		p := started(t, n, func(c *pool.Config) { c.Fixed = 1 })
		synctest.Wait()
		first := shims(t, n)[0]
		n.KillVM(first, "qemu was killed")
		synctest.Wait()
		if id, ok := take(t, p, ask(small)); ok {
			t.Errorf("the dead spare %q is given away", id)
		}
		time.Sleep(3 * time.Second)
		id, ok := take(t, p, ask(small))
		if !ok || id == first {
			t.Errorf("Take later: %q, %t, want another VM", id, ok)
		}
	})
}

func TestPool_Failures(t *testing.T) {
	for name, fail := range map[string]func(*sandboxtest.Node, *pool.Config, *atomic.Bool){
		"launch": func(n *sandboxtest.Node, c *pool.Config, broken *atomic.Bool) {
			c.Launcher = failing{c.Launcher, broken}
		},
		"warm-up": func(n *sandboxtest.Node, c *pool.Config, broken *atomic.Bool) {
			c.WarmUp = func(context.Context, string, sandbox.Shim) error {
				if broken.Load() {
					return errors.New("no such program")
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := sandboxtest.New()
				var broken atomic.Bool
				broken.Store(true)
				p := started(t, n, func(c *pool.Config) { c.Fixed = 1; fail(n, c, &broken) })
				time.Sleep(time.Minute)
				got := p.Status()
				// At 0, 5, 15 and 35 seconds.
				if got.Counts.Failed != 4 || got.Spares != 0 || !strings.Contains(got.Error, "no such program") {
					t.Errorf("after a minute: %+v", got)
				}
				if left := shims(t, n); len(left) != 0 {
					t.Errorf("failed spares are left: %q", left)
				}
				broken.Store(false)
				time.Sleep(time.Minute)
				if got := p.Status(); got.Spares != 1 || got.Error != "" {
					t.Errorf("once it works: %+v", got)
				}
			})
		})
	}
}

type failing struct {
	sandbox.Launcher
	broken *atomic.Bool
}

func (f failing) Launch(ctx context.Context, c sandbox.ShimConfig) (sandbox.Shim, error) {
	if f.broken.Load() {
		return nil, errors.New("no such program")
	}
	return f.Launcher.Launch(ctx, c)
}

// TestWarmUp fails at every step: when the VM has ended, as the pool sees to then, nothing is
// left but a scratch disk that could not be removed.
func TestWarmUp(t *testing.T) {
	for step := 1; ; step++ {
		if step > 50 {
			t.Fatal("no end of steps")
		}
		n := sandboxtest.New()
		l := sandboxtest.Launcher{Node: n}
		shim, err := l.Launch(t.Context(), sandbox.ShimConfig{ID: "spare", VCPUs: 1, MemoryMiB: 256})
		if err != nil {
			t.Fatal(err)
		}
		before := n.String()
		w := pool.Warmer{
			Scratch: sandboxtest.Scratch{Node: n}, ScratchPath: func(id string) string { return "/spares/" + id },
			ScratchBytes: 1 << 30, Layer: sandbox.Layer{DiffID: "sha256:1", Path: "/spares/layer.vhd"},
			Spec: []byte(`{"process":{"args":["/pause"]}}`), ExecArgs: []string{"cat"},
		}
		n.TakeCalls()
		n.FailAt(step)
		err = w.WarmUp(t.Context(), "spare", shim)
		n.FailAt()
		calls := n.TakeCalls()
		if err == nil {
			if d := cmp.Diff(before, n.String()); d != "" {
				t.Errorf("it leaves (-before +after):\n%s", d)
			}
			want := []string{
				"ScratchCreate", "SetupPod", "CreateContainer", "StartContainer", "Exec",
				"RemoveContainer", "RemovePod", "ScratchRemove",
			}
			if d := cmp.Diff(want, calls); d != "" {
				t.Errorf("calls (-want +got):\n%s", d)
			}
		}
		if err := errors.Join(shim.Shutdown(t.Context()), shim.Close()); err != nil {
			t.Fatal(err)
		}
		left := ""
		if calls[min(step, len(calls))-1] == "ScratchRemove" && err != nil {
			left = "scratch spares 1073741824"
		}
		if got := n.String(); got != left {
			t.Errorf("failing at step %d (%v) leaves %q, want %q", step, err, got, left)
		}
		if err == nil {
			return
		}
	}
}
