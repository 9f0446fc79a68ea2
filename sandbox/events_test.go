package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

var kindNames = map[sandbox.EventKind]string{
	sandbox.EventCreated: "created", sandbox.EventStarted: "started",
	sandbox.EventStopped: "stopped", sandbox.EventDeleted: "deleted",
}

// reader collects events until stop is called.
type reader struct {
	mu     sync.Mutex
	events []sandbox.Event
	stop   func() error
}

func follow(t *testing.T, m *sandbox.Manager) *reader {
	t.Helper()
	r := &reader{}
	ctx, cancel := context.WithCancel(t.Context())
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- m.Events(ctx, func() error { close(begun); return nil }, func(e sandbox.Event) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events = append(r.events, e)
			return nil
		})
	}()
	<-begun
	r.stop = func() error { cancel(); return <-ended }
	return r
}

// end stops the reader, which must have been at work until then.
func (r *reader) end(t *testing.T) {
	t.Helper()
	if err := r.stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("Events = %v, want Canceled", err)
	}
}

// take returns the events so far as lines of kind, name, pod's state, containers' phases.
func (r *reader) take(names map[string]string) []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, e := range r.events {
		line := fmt.Sprintf("%s %s: %s", kindNames[e.Kind], names[e.ID], e.Pod.State)
		for _, c := range e.Containers {
			line += fmt.Sprintf(" %s=%s", names[c.ID], c.Phase)
		}
		out = append(out, line)
	}
	r.events = nil
	return out
}

func TestEvents_Life(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, t.TempDir())
		defer m.Close()
		ctx := t.Context()
		early, _ := runOne(t, m, "early") // before anybody reads
		r := follow(t, m)
		pod := mustRun(t, m, podConfig("p"))
		time.Sleep(time.Second) // so that the order of the containers is known
		a := mustCreate(t, m, pod, containerConfig("a"))
		time.Sleep(time.Second)
		b := mustCreate(t, m, pod, containerConfig("b"))
		names := map[string]string{pod: "p", a: "a", b: "b", early: "early"}
		must(t, m.StartContainer(ctx, a))
		n.Exit(a, sandbox.Exit{Code: 3, At: time.Now()})
		synctest.Wait()
		must(t, m.RemoveContainer(ctx, a))
		must(t, m.RemoveContainer(ctx, b)) // never started
		must(t, m.StopPod(ctx, pod))
		must(t, m.StopPod(ctx, pod)) // changes nothing
		must(t, m.RemovePod(ctx, pod))
		want := []string{
			"created p: ready",
			"started p: ready",
			"created a: ready a=created",
			"created b: ready a=created b=created",
			"started a: ready a=running b=created",
			"stopped a: ready a=exited b=created",
			"deleted a: ready b=created",
			"stopped b: ready b=exited",
			"deleted b: ready",
			"stopped p: not-ready",
			"deleted p: not-ready",
		}
		if diff := cmp.Diff(want, r.take(names)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		r.end(t)
	})
}

// TestEvents_LostVM: what ends by itself is told too, the pod's own end first.
func TestEvents_LostVM(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		root := t.TempDir()
		m := open(t, n, root)
		pod, ctr := runOne(t, m, "p")
		names := map[string]string{pod: "p", ctr: "c"}
		m.Close()
		m = open(t, n, root) // what was found at the start is not told as new
		defer m.Close()
		r := follow(t, m)
		n.KillVM(pod, "crash")
		want := []string{"stopped p: not-ready c=running", "stopped c: not-ready c=exited"}
		if diff := cmp.Diff(want, r.take(names)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		r.end(t)
	})
}

// TestEvents_FailedCreation: of what is undone nobody hears.
func TestEvents_FailedCreation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, t.TempDir())
		defer m.Close()
		r := follow(t, m)
		n.Fail("SetupPod", errdefs.ErrInternal)
		if _, err := m.RunPod(t.Context(), podConfig("p")); err == nil {
			t.Fatal("RunPod did not fail")
		}
		if got := r.take(nil); len(got) > 0 {
			t.Errorf("of a pod that was undone: %q", got)
		}
		// One that cannot be undone is seen, and so its end is told.
		n.Fail("Detach", errdefs.ErrInternal)
		if _, err := m.RunPod(t.Context(), podConfig("q")); err == nil {
			t.Fatal("RunPod did not fail")
		}
		want := []string{"created : not-ready", "stopped : not-ready"}
		if diff := cmp.Diff(want, r.take(nil)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		r.end(t)
	})
}

// TestEvents_SlowReader: a reader that does not keep up is told, and holds up nobody.
func TestEvents_SlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, t.TempDir())
		defer m.Close()
		pod := mustRun(t, m, podConfig("p"))
		block, ended, begun := make(chan struct{}), make(chan error, 1), make(chan struct{})
		read := 0
		go func() {
			ended <- m.Events(t.Context(), func() error { close(begun); return nil }, func(sandbox.Event) error {
				read++
				<-block
				return nil
			})
		}()
		<-begun
		for i := range 600 { // two events each
			c := mustCreate(t, m, pod, containerConfig(fmt.Sprint("c", i)))
			must(t, m.StopContainer(t.Context(), c, 0))
		}
		close(block)
		err := <-ended
		if !errdefs.IsResourceExhausted(err) || !strings.Contains(err.Error(), "list anew") {
			t.Errorf("Events after %d events = %v, want ResourceExhausted", read, err)
		}
	})
}

// TestEvents_Concurrent: many at work and VMs that die: each thing's events come in order
// and none is missing.
func TestEvents_Concurrent(t *testing.T) {
	n := sandboxtest.New()
	m := open(t, n, t.TempDir())
	defer m.Close()
	r := follow(t, m)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			ctx := t.Context()
			for j := range 3 {
				pod, err := m.RunPod(ctx, podConfig(fmt.Sprintf("p%d-%d", i, j)))
				if err != nil {
					t.Error(err)
					return
				}
				var inPod sync.WaitGroup
				for k := range 3 {
					inPod.Go(func() {
						c, err := m.CreateContainer(ctx, pod, containerConfig(fmt.Sprint("c", k)))
						if err != nil {
							return // its VM was killed
						}
						if m.StartContainer(ctx, c) == nil && k == 0 {
							n.KillVM(pod, "crash")
						}
						_ = m.RemoveContainer(ctx, c) // RemovePod finishes what fails
					})
				}
				inPod.Wait()
				if err := m.RemovePod(ctx, pod); err != nil {
					t.Errorf("RemovePod: %v", err)
				}
			}
		})
	}
	wg.Wait()
	deadline := time.After(20 * time.Second)
	for {
		life := map[string]string{}
		r.mu.Lock()
		for _, e := range r.events {
			life[e.ID] += kindNames[e.Kind] + " "
		}
		r.mu.Unlock()
		whole, pods := true, 0
		for id, l := range life {
			switch l {
			case "created started stopped deleted ":
				pods++ // or a container
			case "created stopped deleted ":
			default:
				whole = false
				if strings.HasSuffix(l, "deleted ") {
					t.Fatalf("%s: %s", id, l)
				}
			}
		}
		if whole && pods >= 18 {
			break
		}
		select {
		case <-deadline:
			for id, l := range life {
				if !strings.HasSuffix(l, "deleted ") {
					t.Errorf("%s: %s", id, l)
				}
			}
			t.FailNow()
		case <-time.After(10 * time.Millisecond):
		}
	}
	r.end(t)
}
