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
	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/shim"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/arbiter"
	"github.com/porthole-run/porthole/share/posix"
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

func TestOpen_ReadOnly(t *testing.T) {
	testneed.Root(t)
	h := newHost(t)
	plain, mounted := t.TempDir(), t.TempDir()
	below := filepath.Join(mounted, "a b") // is escaped in the table of mounts
	if err := os.Mkdir(below, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", below, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(below, 0); err != nil {
			t.Error(err)
		}
	})
	file := filepath.Join(mounted, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		s    sandbox.FolderSource
		ask  bool
		want bool
	}{
		{"plain", sandbox.FolderSource{Path: plain}, true, true},
		{"writable", sandbox.FolderSource{Path: mounted}, false, false},
		{"mounts_below", sandbox.FolderSource{Path: mounted}, true, false},
		{"recursive", sandbox.FolderSource{Path: mounted, Recursive: true}, true, true},
		{"live", sandbox.FolderSource{Path: mounted, HostToContainer: true}, true, true},
		{"file_beside", sandbox.FolderSource{Path: file}, true, true},
		{"mount_itself", sandbox.FolderSource{Path: below}, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := open(t, h, shim.ShareSource{FolderSource: tt.s, ReadOnly: tt.ask})
			if got := o.ReadOnly(); got != tt.want {
				t.Errorf("ReadOnly() = %v, want %v", got, tt.want)
			}
			// The root refuses by itself in any case.
			_, err := o.(*opened).backend.Root().SetAttr(share.SetAttr{Fields: share.SetMode, Mode: 0o750})
			if refused := posix.FromError(err) == posix.EROFS; refused != tt.ask {
				t.Errorf("a change of the root: %v, want refused: %v", err, tt.ask)
			}
		})
	}
}
