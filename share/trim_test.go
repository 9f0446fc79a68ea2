package share_test

import (
	"testing"
	"testing/synctest"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
	"github.com/porthole-run/porthole/share/sharetest/memfs"
)

// TestTrim: a guest that forgets when it is asked to goes on past the limit; what it
// keeps in use stays. One that says that it has and has not gets ENFILE.
func TestTrim(t *testing.T) {
	const limit, files = 64, 10 * 64
	for _, forgets := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			fs := memfs.New(memfs.Options{})
			for i := range files {
				hostWrite(t, fs, sprintf("%d", i), "")
			}
			g := mount(t, share.Config{Backend: fs, Limits: share.Limits{Nodes: limit}})
			used, err := g.lookup(fuse.RootID, "0")
			check(t, err)
			var idle []uint64
			shrinks := 0
			g.inject = func(m fuse.Inject) posix.Errno {
				if m.Kind != fuse.InjectShrink || m.Path != "" {
					t.Errorf("injection %+v", m)
				}
				shrinks++
				if forgets {
					for _, id := range idle {
						g.forget(id, 1)
					}
					idle = nil
				}
				return 0
			}
			failed := 0
			for i := 1; i < files; i++ {
				e, err := g.lookup(fuse.RootID, sprintf("%d", i))
				synctest.Wait()
				if err == nil {
					idle = append(idle, e.NodeID)
				} else if failed++; posix.FromError(err) != posix.ENFILE {
					t.Errorf("lookup %d: %v", i, err)
				}
			}
			if want := files - limit + 1; forgets && failed > 0 || !forgets && failed != want {
				t.Errorf("forgets=%v: %d lookups failed, want %d of a guest that does not", forgets, failed, want)
			}
			// One that does not is not asked without end.
			if shrinks == 0 || shrinks > files/(limit/2) {
				t.Errorf("forgets=%v: asked %d times", forgets, shrinks)
			}
			if _, err := g.do(fuse.OpGetattr, used.NodeID, fuse.GetattrIn{}); err != nil {
				t.Errorf("a file in use: %v", err)
			}
			g.unmount()
			empty(t, fs)
		})
	}
}

// TestReaddir_Crowded: when there is little room a listing has all names, without nodes.
func TestReaddir_Crowded(t *testing.T) {
	fs := memfs.New(memfs.Options{})
	for i := range 100 {
		hostWrite(t, fs, sprintf("%d", i), "")
	}
	g := mount(t, share.Config{Backend: fs, Limits: share.Limits{Nodes: 40}})
	d, err := g.do(fuse.OpOpendir, fuse.RootID, fuse.OpenIn{})
	check(t, err)
	var o fuse.OpenOut
	o.Decode(&d)
	if d, err = g.do(fuse.OpReaddirplus, fuse.RootID, fuse.ReadIn{FH: o.FH, Size: 64 << 10}); err != nil {
		t.Fatal(err)
	}
	listed, nodes := 0, 0
	for d.Len() > 0 {
		var e fuse.Direntplus
		e.Decode(&d)
		listed++
		if e.Entry.NodeID != 0 {
			nodes++
		}
	}
	if listed != 102 || nodes != 29 { // the root makes it 30 of 40
		t.Errorf("%d names and %d nodes, want 102 and 29", listed, nodes)
	}
	if _, err := g.lookup(fuse.RootID, "99"); err != nil {
		t.Errorf("lookup of what was listed without: %v", err)
	}
	g.unmount()
	empty(t, fs)
}
