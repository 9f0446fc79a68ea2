package share_test

import (
	"slices"
	"testing"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
	"github.com/porthole-run/porthole/share/sharetest/memfs"
)

// told returns of which nodes the relay was told that they have no capabilities, and
// forgets it.
func (g *guest) told() []uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.plain
	g.plain = nil
	return p
}

func TestPlain(t *testing.T) {
	fs := memfs.New(memfs.Options{})
	g := mount(t, share.Config{Backend: fs})
	defer g.unmount()
	want := func(what string, want ...uint64) {
		t.Helper()
		if got := g.told(); !slices.Equal(got, want) {
			t.Errorf("%s: the relay was told %d, want %d", what, got, want)
		}
	}
	set := func(node uint64, attr string) {
		t.Helper()
		_, err := g.do(fuse.OpSetxattr, node, fuse.SetxattrIn{Size: 1}, append(names(attr), 'v'))
		check(t, err)
	}
	f, o := g.create(fuse.RootID, "f")
	want("create", f.NodeID)
	set(f.NodeID, "user.a")
	want("another attribute")
	set(f.NodeID, "security.capability")
	want("set", 0)
	_, err := g.open(f.NodeID, posix.O_RDWR)
	check(t, err)
	want("open of one that has some")
	_, err = g.open(f.NodeID, posix.O_RDONLY)
	check(t, err)
	check(t, g.pwrite(f.NodeID, o.FH, "data", 0)) // takes them away
	_, err = g.open(f.NodeID, posix.O_RDONLY)
	check(t, err)
	want("open for reading")
	_, err = g.open(f.NodeID, posix.O_WRONLY)
	check(t, err)
	want("open for writing", f.NodeID)
	// Another VM, or the host, has changed it.
	check(t, g.s.Invalidate(t.Context(), []share.Change{{File: share.FileID{Volume: 1, File: f.Attr.Ino}}}))
	want("changed by another", 0)
}

// TestPlain_None: where files have no capabilities the relay needs not be told.
func TestPlain_None(t *testing.T) {
	g := mount(t, share.Config{Backend: &bare{memfs.New(memfs.Options{})}})
	defer g.unmount()
	g.create(fuse.RootID, "f")
	if got := g.told(); got != nil {
		t.Errorf("the relay was told %d", got)
	}
}

// bare is a file system without capabilities.
type bare struct{ *memfs.FS }

func (b *bare) Features() share.Features {
	f := b.FS.Features()
	f.NoSecurity = true
	return f
}
