package pool_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox/pool"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

func count(calls []string, name string) (n int) {
	for _, c := range calls {
		if c == name {
			n++
		}
	}
	return n
}

// TestPool_Asks: spares are asked every half minute, and no more often.
func TestPool_Asks(t *testing.T) {
	for name, answer := range map[string]error{"with figures": nil, "of an older build": errdefs.ErrNotImplemented} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := sandboxtest.New()
				n.Fail("Stats", answer)
				p := started(t, n, func(c *pool.Config) { c.Fixed = 2 })
				time.Sleep(10*time.Minute + time.Second)
				synctest.Wait()
				calls := n.TakeCalls()
				// Each answer is a moment after its second, so that every 31st may do.
				if got := count(calls, "Stats"); got < 2*19 || got > 2*20 {
					t.Errorf("%d questions to 2 spares in ten minutes, want 40", got)
				}
				if got := p.Status(); got.Spares != 2 || got.Counts.Ended != 0 || got.Counts.Made != 2 {
					t.Errorf("spares that answer: %+v", got)
				}
			})
		})
	}
}

// TestPool_Hung: a spare that hangs, or answers with an error, is replaced before a pod asks.
func TestPool_Hung(t *testing.T) {
	for name, fail := range map[string]func(n *sandboxtest.Node, id string){
		"no answer": func(n *sandboxtest.Node, id string) { n.Hang(id) },
		"error": func(n *sandboxtest.Node, id string) {
			n.Fail("Stats", errors.New("broken"))
			time.Sleep(32 * time.Second)
			n.Fail("Stats", nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := sandboxtest.New()
				p := started(t, n, func(c *pool.Config) { c.Fixed = 1 })
				synctest.Wait()
				first := shims(t, n)[0]
				fail(n, first)
				time.Sleep(40 * time.Second)
				synctest.Wait()
				if left := shims(t, n); len(left) != 1 || slices.Contains(left, first) {
					t.Errorf("VMs are %q, want another than %s", left, first)
				}
				if id, ok := take(t, p, ask(small)); !ok || id == first {
					t.Errorf("Take: %q, %t, want another VM than %s", id, ok, first)
				}
				if got := p.Status().Counts; got.Ended != 1 || got.Made != 2 {
					t.Errorf("%+v, want 1 ended and 2 made", got)
				}
			})
		})
	}
}

// TestPool_HungAndTaken: who takes a spare while that is being asked has it.
func TestPool_HungAndTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		p := started(t, n, func(c *pool.Config) { c.Fixed = 1 })
		synctest.Wait()
		first := shims(t, n)[0]
		n.Hang(first)
		time.Sleep(32 * time.Second)
		synctest.Wait() // it has been asked, and has some seconds to answer
		if id, ok := take(t, p, ask(small)); !ok || id != first {
			t.Fatalf("Take: %q, %t, want %s", id, ok, first)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !slices.Contains(shims(t, n), first) {
			t.Error("the pool has ended a VM that is a pod's")
		}
		if got := p.Status(); got.Counts.Ended != 0 || got.Spares != 1 {
			t.Errorf("%+v, want none ended and a new spare", got)
		}
	})
}

// TestPool_Changed: when what VMs are made from has changed, no pod gets a spare from before.
func TestPool_Changed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "initrd")
	write := func(t *testing.T, content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(t, "one")
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		p := started(t, n, func(c *pool.Config) { c.Fixed, c.Files = 2, []string{file} })
		synctest.Wait()
		before := shims(t, n)
		if len(before) != 2 {
			t.Fatalf("VMs are %q, want 2", before)
		}
		time.Sleep(10*time.Second + 500*time.Millisecond) // between two looks of the pool
		synctest.Wait()
		if got := p.Status().Counts; got.Ended != 0 {
			t.Errorf("nothing has changed: %+v", got)
		}
		write(t, "another")
		if id, ok := take(t, p, ask(small)); ok {
			t.Errorf("right after the change a pod gets %q", id)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		after := shims(t, n)
		if len(after) != 2 || slices.ContainsFunc(after, func(id string) bool { return slices.Contains(before, id) }) {
			t.Errorf("VMs are %q, want two others than %q", after, before)
		}
		if _, ok := take(t, p, ask(small)); !ok {
			t.Error("no spare of what is there now")
		}

		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if got := p.Status(); got.Spares != 0 || got.Error == "" {
			t.Errorf("without the file: %+v", got)
		}
		write(t, "third")
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := p.Status(); got.Spares != 2 || got.Error != "" {
			t.Errorf("with the file again: %+v", got)
		}
	})
}

// TestPool_ShrinksOnly: no more spares are ended than the memory asks for, and the log tells once.
func TestPool_ShrinksOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		p := started(t, n, func(c *pool.Config) {
			c.Fixed, c.LeastMiB = 3, 1000
			// Each VM takes its 256 MiB.
			c.FreeMiB = func() (uint64, error) { return uint64(1800 - 256*len(shims(t, n))), nil }
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := p.Status(); got.Spares != 3 || got.Counts.Made != 3 {
			t.Errorf("%+v, want 3 spares in what 1800 MiB have room for", got)
		}
		n.AddStrayShim("other")
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := p.Status(); got.Spares != 2 || got.Counts.Made != 3 || got.Counts.Ended != 1 {
			t.Errorf("%+v, want one spare ended and none made", got)
		}
	})
}
