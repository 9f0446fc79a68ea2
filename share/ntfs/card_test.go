package ntfs_test

import (
	"slices"
	"testing"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/card"
	"github.com/porthole-run/porthole/share/client"
	"github.com/porthole-run/porthole/share/lock"
	"github.com/porthole-run/porthole/share/ntfs"
	"github.com/porthole-run/porthole/share/ntfs/ntfake"
)

const system = "ntfs over share/client"

// exceptions are of FUSE or of the fake, beyond those of NTFS that the card itself has.
var exceptions = []card.Exception{
	{System: system, Check: "xattr/trusted", Reason: "FUSE's listxattr says nothing of the caller's rights: trusted names are listed to all"},
}

// mount serves a folder of a new fake volume to a kernel in miniature.
func mount(t *testing.T) *client.Kernel {
	t.Helper()
	vol := ntfake.New(ntfake.Config{})
	b, err := ntfs.New(vol.Root(), ntfs.Options{DirMode: 0o777})
	if err != nil {
		t.Fatal(err)
	}
	s, err := share.NewSession(share.Config{Backend: b, Locker: lock.New(lock.Limits{}).Session("test")})
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
		if n := vol.Handles(); n != 0 {
			t.Errorf("%d handles are left open", n)
		}
	})
	return k
}

// TestCard runs the score card's checks over the fake.
func TestCard(t *testing.T) {
	c := card.Run(t.Context(), mount(t), card.Options{System: system, Exceptions: slices.Concat(exceptions, card.Exceptions)})
	for _, r := range c.Results {
		if r.Outcome == card.Failed {
			t.Errorf("%s: %v", r.Check.Name, r.Err)
		}
	}
}
