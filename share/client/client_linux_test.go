package client_test

import (
	"os"
	"testing"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/card"
	"github.com/porthole-run/porthole/share/client"
	"github.com/porthole-run/porthole/share/hostfs"
	"github.com/porthole-run/porthole/share/lock"
)

// mount serves a new folder of the host's to a kernel in miniature.
func mount(t *testing.T, c share.Config) *client.Kernel {
	t.Helper()
	testneed.Root(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	b, err := hostfs.Open(dir, hostfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.Backend = b
	s, err := share.NewSession(c)
	if err != nil {
		t.Fatal(err)
	}
	k, err := client.Mount(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// TestShared runs all checks over a session whose locks are the server's.
func TestShared(t *testing.T) {
	k := mount(t, share.Config{Locker: lock.New(lock.Limits{}).Session("test")})
	check(t, k, card.Options{System: "hostfs over share/client"})
}

// TestPrivate runs the checks of locks where they are left to the kernel.
func TestPrivate(t *testing.T) {
	k := mount(t, share.Config{Private: true})
	check(t, k, card.Options{System: "hostfs over share/client", Only: []string{"lock/", "handles/"}})
}
