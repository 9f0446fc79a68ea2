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

// TestCard runs the score card's checks in a kernel in miniature, served by a session of
// the backend over the fake.
func TestCard(t *testing.T) {
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
	c := card.Run(t.Context(), k, card.Options{System: system, Exceptions: slices.Concat(exceptions, card.Exceptions)})
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if n := vol.Handles(); n != 0 {
		t.Errorf("%d handles are left open", n)
	}
	for _, r := range c.Results {
		if r.Outcome == card.Failed {
			t.Errorf("%s: %v", r.Check.Name, r.Err)
		}
	}
}
