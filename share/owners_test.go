package share_test

import (
	"errors"
	"testing"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
	"github.com/porthole-run/porthole/share/sharetest/memfs"
)

// TestOwners: through a user namespace the guest sees ids of the host as its own, in each
// answer, and what it makes or gives away belongs to whom that stands for.
func TestOwners(t *testing.T) {
	fs := memfs.New(memfs.Options{})
	g := mount(t, share.Config{Backend: fs, Owners: &share.Owners{
		UIDs: share.IDRange{First: 900, Length: 1000}, GIDs: share.IDRange{First: 500, Length: 1000},
	}})
	// The guest's caller is 1000:1000, which is 100:500 on the host.
	e, o := g.create(fuse.RootID, "f")
	if e.Attr.UID != 1000 || e.Attr.GID != 1000 {
		t.Errorf("the guest sees what it made as %d:%d's", e.Attr.UID, e.Attr.GID)
	}
	node, attr, err := fs.Root().Lookup("f")
	if err != nil || attr.UID != 100 || attr.GID != 500 {
		t.Errorf("the host has it as %d:%d's, %v; want 100:500", attr.UID, attr.GID, err)
	}
	root, err := g.do(fuse.OpGetattr, fuse.RootID, fuse.GetattrIn{})
	var a fuse.AttrOut
	if a.Decode(&root); err != nil || a.Attr.UID != 900 || a.Attr.GID != 500 {
		t.Errorf("root's folder is %d:%d's, %v; want 900:500", a.Attr.UID, a.Attr.GID, err)
	}
	change := func(valid, uid, gid uint32) (fuse.Attr, error) {
		d, err := g.do(fuse.OpSetattr, e.NodeID, fuse.SetattrIn{Valid: valid, UID: uid, GID: gid})
		var out fuse.AttrOut
		if err == nil {
			out.Decode(&d)
		}
		return out.Attr, err
	}
	if got, err := change(fuse.FattrUID|fuse.FattrGID, 933, 534); err != nil || got.UID != 933 || got.GID != 534 {
		t.Errorf("after a change: %d:%d, %v", got.UID, got.GID, err)
	}
	if attr, err := node.Attr(); err != nil || attr.UID != 33 || attr.GID != 34 {
		t.Errorf("on the host: %d:%d, %v; want 33:34", attr.UID, attr.GID, err)
	}
	for name, c := range map[string][3]uint32{"below": {fuse.FattrUID, 899, 0}, "beyond": {fuse.FattrUID, 1900, 0}, "group": {fuse.FattrGID, 0, 1500}} {
		if _, err := change(c[0], c[1], c[2]); !errors.Is(err, posix.EOVERFLOW) {
			t.Errorf("%s: a change to an id that is not mapped = %v, want EOVERFLOW", name, err)
		}
	}
	// An owner of the host that is not mapped is nobody.
	if _, err := node.SetAttr(share.SetAttr{Fields: share.SetUID | share.SetGID, UID: 5000, GID: 5000}); err != nil {
		t.Fatal(err)
	}
	if l, err := g.lookup(fuse.RootID, "f"); err != nil || l.Attr.UID != 65534 || l.Attr.GID != 65534 {
		t.Errorf("a stranger's file is %d:%d's, %v", l.Attr.UID, l.Attr.GID, err)
	}
	g.release(e.NodeID, o.FH)
	// Who is not mapped makes nothing, and may look all the same.
	c, _ := g.start(fuse.InHeader{Opcode: fuse.OpMkdir, NodeID: fuse.RootID}, fuse.MkdirIn{Mode: 0o755}, names("by-the-vms-root"))
	if _, err := g.wait(c); !errors.Is(err, posix.EOVERFLOW) {
		t.Errorf("mkdir of one who is not mapped = %v, want EOVERFLOW", err)
	}
	c, _ = g.start(fuse.InHeader{Opcode: fuse.OpLookup, NodeID: fuse.RootID}, nil, names("f"))
	if _, err := g.wait(c); err != nil {
		t.Errorf("lookup of one who is not mapped = %v", err)
	}
	g.unmount()
}

func TestOwners_Refused(t *testing.T) {
	for name, o := range map[string]share.Owners{
		"none":   {},
		"groups": {UIDs: share.IDRange{Length: 1}},
		"beyond": {UIDs: share.IDRange{First: 1<<32 - 2, Length: 2}, GIDs: share.IDRange{Length: 1}},
	} {
		if _, err := share.NewSession(share.Config{Backend: memfs.New(memfs.Options{}), Private: true, Owners: &o}); err == nil {
			t.Errorf("%s: NewSession with %+v succeeds", name, o)
		}
	}
}
