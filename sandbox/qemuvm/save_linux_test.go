package qemuvm

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/drivertest"
)

// TestSave_Suite saves and restores a VM that booted, and TestSave_Clone one that is a
// clone of a template.
func TestSave_Suite(t *testing.T) {
	r := newRig(t)
	before := r.left(t)
	drivertest.SaveSuite(t, drivertest.Env{
		Driver: r.driver(t, nil),
		Config: func(t *testing.T, id string) sandbox.VMConfig { return r.config(id) },
		NIC:    podNetwork,
		Left:   r.leftSince(before),
	})
}

func TestSave_Clone(t *testing.T) {
	r := newRig(t)
	d := r.driver(t, nil)
	template := r.template(t, d)
	drivertest.SaveSuite(t, drivertest.Env{
		Driver: cloner{d, template},
		Clones: true,
		Config: func(t *testing.T, id string) sandbox.VMConfig { return r.config(id) },
		NIC:    podNetwork,
		Left:   r.leftSince(r.left(t)),
	})
}

// TestSave_Channels: a channel's two ends do not notice that a VM was saved, or was not for
// want of room, and its guest's end is there in a VM that is restored.
func TestSave_Channels(t *testing.T) {
	r := newRig(t)
	d := r.driver(t, nil)
	v := r.boot(t, d, "channels")
	echo(t, v, "up")
	var first net.Conn
	for _, name := range []string{"one", "two", "three"} {
		c, err := v.OpenChannel(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if name == "one" {
			first = c
		}
	}
	first.Close() // numbers are not in a row
	full := filepath.Join(smallDisk(t), "state")
	_, err := v.SaveTo(t.Context(), full, func(context.Context) error { return nil })
	if !errdefs.IsResourceExhausted(err) {
		t.Errorf("SaveTo() with the disk full = %v, want ResourceExhausted", err)
	}
	if _, err := os.Stat(full); err == nil {
		t.Error("a part of the state is left")
	}
	echo(t, v, "still up")
	state := filepath.Join(t.TempDir(), "state")
	saved, err := v.SaveTo(t.Context(), state, func(context.Context) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if len(saved.Channels) != 2 || saved.Channels[0] != (sandbox.SavedChannel{Name: "two", Number: 3}) {
		t.Errorf("channels %+v", saved.Channels)
	}
	stopVM(t, v)
	again, err := d.Restore(t.Context(), r.config("channels-2"), saved, state)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopVM(t, again) })
	if err := again.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	echo(t, again, "up again")
	c, err := again.(sandbox.Channeler).OpenChannel(t.Context(), "three")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if c, err = again.(sandbox.Channeler).OpenChannel(t.Context(), "four"); err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// TestRestore_Damaged: a state that is cut short, or of other bytes, is an error of Start that
// says what QEMU says, within its time.
func TestRestore_Damaged(t *testing.T) {
	r := newRig(t)
	d := r.driver(t, func(c *Config) { c.StartTimeout = 10 * time.Second })
	v := r.boot(t, d, "damaged")
	echo(t, v, "up")
	state := filepath.Join(t.TempDir(), "state")
	saved, err := v.SaveTo(t.Context(), state, func(context.Context) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	stopVM(t, v)
	before := r.left(t)
	b, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"empty": {}, "cut": b[:len(b)/2], "foreign": []byte("something else altogether, and long enough")} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		v, err := d.Restore(t.Context(), r.config("damaged-"+name), saved, path)
		if name == "empty" {
			if !errdefs.IsDataLoss(err) {
				t.Errorf("Restore() of an empty state = %v, want DataLoss", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		err = v.Start(t.Context())
		t.Logf("%s, after %v: %v", name, time.Since(begin).Round(time.Millisecond), err)
		if err == nil {
			t.Errorf("%s: Start() succeeded", name)
		}
		r.wantEnd(t, v, before)
	}
}

// smallDisk mounts a file system of 1 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("small", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}
