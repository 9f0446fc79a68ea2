package hostshare

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/shim"
	"github.com/porthole-run/porthole/share/arbiter"
)

// newHost makes a Host with an arbiter in this process.
func newHost(t *testing.T) *Host { return newHosts(t, 1)[0] }

// newHosts makes several with one arbiter.
func newHosts(t *testing.T, n int) []*Host {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var arbiters sync.WaitGroup
	var hosts []*Host
	for range n {
		hosts = append(hosts, New(Config{ArbiterDir: dir, Log: slog.New(slog.DiscardHandler), StartArbiter: func(context.Context) error {
			arbiters.Go(func() {
				if err := arbiter.Main(ctx, dir, slog.New(slog.DiscardHandler)); err != nil {
					t.Errorf("arbiter: %v", err)
				}
			})
			return nil
		}}))
	}
	t.Cleanup(func() {
		for _, h := range hosts {
			h.Close()
		}
		cancel()
		arbiters.Wait()
	})
	return hosts
}

func open(t *testing.T, h *Host, s shim.ShareSource) shim.Share {
	t.Helper()
	out, err := h.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := out.Close(); err != nil {
			t.Error(err)
		}
	})
	return out
}

func source(path string) shim.ShareSource {
	return shim.ShareSource{FolderSource: sandbox.FolderSource{Path: path}}
}

func TestOpen(t *testing.T) {
	h := newHost(t)
	dir := t.TempDir()
	for _, name := range []string{"one", "two"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	folder, again := open(t, h, source(dir)), open(t, h, source(dir))
	one, two := open(t, h, source(filepath.Join(dir, "one"))), open(t, h, source(filepath.Join(dir, "two")))
	if folder.ID() != again.ID() {
		t.Errorf("the same folder has ids %s and %s", folder.ID(), again.ID())
	}
	if folder.ID() == one.ID() || one.ID() == two.ID() {
		t.Errorf("ids %s, %s, %s are not all different", folder.ID(), one.ID(), two.ID())
	}
	if folder.IsFile() || !one.IsFile() {
		t.Errorf("IsFile = %v of a folder, %v of a file", folder.IsFile(), one.IsFile())
	}
	if _, err := h.Open(t.Context(), source(filepath.Join(dir, "none"))); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Open of what is not there = %v, want FailedPrecondition", err)
	}
}

// TestServe: a session ends with its stream, with and without an arbiter.
func TestServe(t *testing.T) {
	h := newHost(t)
	for _, private := range []bool{true, false} {
		s := source(t.TempDir())
		s.Private = private
		served := make(chan error, 1)
		ours, theirs := net.Pipe()
		o := open(t, h, s)
		go func() { served <- o.Serve(t.Context(), theirs) }()
		ours.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve with private=%v = %v", private, err)
		}
	}
}

// TestServe_NoArbiter: a share that others may have is not served without locks.
func TestServe_NoArbiter(t *testing.T) {
	h := New(Config{ArbiterDir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		StartArbiter: func(context.Context) error { return errors.New("injected") }})
	o := open(t, h, source(t.TempDir()))
	served := make(chan error, 1)
	ours, theirs := net.Pipe()
	go func() { served <- o.Serve(t.Context(), theirs) }()
	h.Close() // Join gives up
	if err := <-served; err == nil {
		t.Error("Serve succeeded")
	}
	if _, err := ours.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the stream's other end reads %v, want EOF", err)
	}
}
