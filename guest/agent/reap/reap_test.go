//go:build linux

package reap

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// started returns a reaper that adopts orphans, as PID 1 does.
func started(t *testing.T) *Reaper {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	r := New()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { r.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return r
}

func sh(script string) []string { return []string{"sh", "-c", script} }

func TestReaper_RunChild(t *testing.T) {
	r := started(t)
	for script, want := range map[string]uint32{"exit 0": 0, "exit 7": 7, "kill -9 $$": 137, "kill -TERM $$": 143} {
		got, err := r.RunChild(t.Context(), "/bin/sh", sh(script), &os.ProcAttr{})
		if err != nil || got.Code != want || got.At.IsZero() {
			t.Errorf("%q = %+v, %v, want code %d", script, got, err, want)
		}
	}
	if _, err := r.RunChild(t.Context(), "/no/such", nil, &os.ProcAttr{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing program = %v, want ErrNotExist", err)
	}
}

func TestReaper_RunChildCancelled(t *testing.T) {
	r := started(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.RunChild(ctx, "/bin/sh", sh("exec sleep 1000"), &os.ProcAttr{}); !errors.Is(err, context.Canceled) {
		t.Errorf("RunChild = %v, want Canceled", err)
	}
}

// TestWindow_OrphanGone claims an orphan whose exit was reaped before its pid was known.
func TestWindow_OrphanGone(t *testing.T) {
	r := started(t)
	w := r.Open()
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	hold, release, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	// The orphan outlives its parent, as the shell would wait for it else.
	_, err = r.RunChild(t.Context(), "/bin/sh", sh("(read x; exit 9) <&3 & echo $!"), &os.ProcAttr{Files: []*os.File{nil, pw, nil, hold}})
	if err != nil {
		t.Fatal(err)
	}
	pw.Close()
	hold.Close()
	b := make([]byte, 32)
	n, _ := pr.Read(b)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		t.Fatal(err)
	}
	release.Close()
	for deadline := time.After(20 * time.Second); ; {
		r.mu.Lock()
		_, gone := r.kept[pid]
		r.mu.Unlock()
		if gone {
			break
		}
		select {
		case <-deadline:
			t.Fatal("the orphan was not reaped")
		case <-time.After(time.Millisecond):
		}
	}
	p := w.Claim(pid)
	w.Close()
	<-p.Done()
	if p.Exit().Code != 9 {
		t.Errorf("exit = %+v, want code 9", p.Exit())
	}
	if err := p.Signal(unix.SIGTERM); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Signal after exit = %v, want FailedPrecondition", err)
	}
	if len(r.kept) != 0 {
		t.Errorf("exits kept after the last window closed: %v", r.kept)
	}
}

// TestReaper_Many loses no status among many children at once.
func TestReaper_Many(t *testing.T) {
	r := started(t)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			got, err := r.RunChild(t.Context(), "/bin/sh", sh("exit "+strconv.Itoa(i)), &os.ProcAttr{})
			if err != nil || got.Code != uint32(i) {
				t.Errorf("child %d = %+v, %v", i, got, err)
			}
		})
	}
	wg.Wait()
}
