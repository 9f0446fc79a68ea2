package client_test

import (
	"strings"
	"testing"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/card"
	"github.com/porthole-run/porthole/share/client"
	"github.com/porthole-run/porthole/share/lock"
	"github.com/porthole-run/porthole/share/sharetest/memfs"
)

// TestMemory runs all checks where there is no host's file system to help. At the end
// nothing must be left: each lookup has been forgotten, each file released.
func TestMemory(t *testing.T) {
	b := memfs.New(memfs.Options{})
	s, err := share.NewSession(share.Config{Backend: b, Locker: lock.New(lock.Limits{}).Session("test")})
	if err != nil {
		t.Fatal(err)
	}
	k, err := client.Mount(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	check(t, k, card.Options{System: "memory over share/client"})
	if n := k.Known(); n != 1 {
		t.Errorf("the kernel knows %d files when nothing uses any, want the root", n)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	if nodes, files := b.InUse(); nodes != 0 || files != 0 {
		t.Errorf("%d nodes and %d files are in use after the session", nodes, files)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func check(t *testing.T, k *client.Kernel, o card.Options) {
	t.Helper()
	o.Exceptions = card.Exceptions
	if c := card.Run(t.Context(), k, o); !c.OK() {
		var b strings.Builder
		_ = c.Print(&b)
		t.Error(b.String())
	}
}
