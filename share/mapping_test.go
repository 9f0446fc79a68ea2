package share_test

import (
	"testing"
	"testing/synctest"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/lock"
	"github.com/porthole-run/porthole/share/posix"
	"github.com/porthole-run/porthole/share/sharetest/memfs"
)

// opened opens a file of a guest and says whether its kernel is to use no cache.
func (g *guest) opened(node uint64, flags uint32) (fh uint64, direct bool) {
	g.t.Helper()
	o, err := g.open(node, flags)
	check(g.t, err)
	if o.OpenFlags&fuse.FopenDirectIO != 0 && o.OpenFlags&fuse.FopenKeepCache != 0 {
		g.t.Errorf("open flags %#x", o.OpenFlags)
	}
	return o.FH, o.OpenFlags&fuse.FopenDirectIO != 0
}

// TestMapping: of two guests that have a file open for reading and writing, one may map it.
func TestMapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := lock.New(lock.Limits{})
		fs := memfs.New(memfs.Options{})
		hostWrite(t, fs, "f", "data")
		a := mount(t, share.Config{Backend: fs, Locker: table.Session("a")})
		b := mount(t, share.Config{Backend: &second{fs}, Locker: table.Session("b")})
		fa, err := a.lookup(fuse.RootID, "f")
		check(t, err)
		fb, err := b.lookup(fuse.RootID, "f")
		check(t, err)
		want := func(what string, got, want bool) {
			t.Helper()
			if got != want {
				t.Errorf("%s: direct is %v, want %v", what, got, want)
			}
		}
		a1, direct := a.opened(fa.NodeID, posix.O_RDWR)
		want("the first", direct, false)
		a2, direct := a.opened(fa.NodeID, posix.O_RDWR)
		want("the first's other", direct, false)
		b1, direct := b.opened(fb.NodeID, posix.O_RDWR)
		want("the second", direct, true)
		br, direct := b.opened(fb.NodeID, posix.O_RDONLY)
		want("a reader", direct, false)
		bw, direct := b.opened(fb.NodeID, posix.O_WRONLY|posix.O_APPEND)
		want("who only writes", direct, false)
		a.release(fa.NodeID, a1)
		b2, direct := b.opened(fb.NodeID, posix.O_RDWR)
		want("while the first has one left", direct, true)
		a.release(fa.NodeID, a2)
		synctest.Wait()
		b3, direct := b.opened(fb.NodeID, posix.O_RDWR)
		want("beside one of its own that is", direct, true)
		for _, fh := range []uint64{b1, b2, b3, br, bw} {
			b.release(fb.NodeID, fh)
		}
		synctest.Wait()
		_, direct = b.opened(fb.NodeID, posix.O_RDWR)
		want("alone", direct, false)
		a3, direct := a.opened(fa.NodeID, posix.O_RDWR)
		want("the other way round", direct, true)
		b.unmount() // its end gives back what it has
		a.release(fa.NodeID, a3)
		synctest.Wait()
		_, direct = a.opened(fa.NodeID, posix.O_RDWR)
		want("after the other's end", direct, false)
		a.unmount()
		empty(t, fs)
	})
}

// TestMapping_Create: what a guest makes and opens counts too.
func TestMapping_Create(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := lock.New(lock.Limits{})
		fs := memfs.New(memfs.Options{})
		a := mount(t, share.Config{Backend: fs, Locker: table.Session("a")})
		b := mount(t, share.Config{Backend: &second{fs}, Locker: table.Session("b")})
		if _, o := a.create(fuse.RootID, "f"); o.OpenFlags&fuse.FopenDirectIO != 0 {
			t.Error("who made it may not map it")
		}
		if _, o := b.create(fuse.RootID, "f"); o.OpenFlags&fuse.FopenDirectIO == 0 {
			t.Error("two may map it")
		}
		a.unmount()
		b.unmount()
	})
}

// TestMapping_Cached: a write past the kernel's cache is answered when what is cached for
// others of its guest is gone, and not before.
func TestMapping_Cached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := lock.New(lock.Limits{})
		fs := memfs.New(memfs.Options{})
		hostWrite(t, fs, "f", "data")
		b := mount(t, share.Config{Backend: &second{fs}, Locker: table.Session("b")})
		f, err := b.lookup(fuse.RootID, "f")
		check(t, err)
		other := table.Session("a")
		root, _, err := fs.Root().Lookup("f")
		check(t, err)
		check(t, other.SetLock(t.Context(), root.ID(), share.Lock{Kind: share.LockMapping, Type: posix.F_WRLCK, End: lock.MaxOffset}, false))
		root.Release()
		fh, direct := b.opened(f.NodeID, posix.O_RDWR)
		if !direct {
			t.Fatal("two may map it")
		}
		check(t, b.pwrite(f.NodeID, fh, "alone", 0))
		if got := b.seen(); got != "" {
			t.Errorf("with nothing cached the kernel was told %q", got)
		}
		reader, _ := b.opened(f.NodeID, posix.O_RDONLY)
		b.mu.Lock()
		b.hold = true
		b.mu.Unlock()
		answer, _ := b.start(fuse.InHeader{Opcode: fuse.OpWrite, NodeID: f.NodeID}, fuse.WriteIn{FH: fh, Offset: 2, Size: 3}, []byte("xyz"))
		synctest.Wait()
		if got, want := b.seen(), sprintf("inode %d 2 3", f.NodeID); got != want {
			t.Errorf("the kernel was told %q, want %q", got, want)
		}
		if s, err := b.pread(f.NodeID, fh, 10, 0); s != "alxyz" || err != nil { // all else goes on
			t.Errorf("read %q, %v", s, err)
		}
		select {
		case <-answer:
			t.Error("answered before the kernel has dropped what is old")
		default:
		}
		b.ack(1)
		if _, err := b.wait(answer); err != nil {
			t.Error(err)
		}
		b.release(f.NodeID, reader)
		check(t, b.pwrite(f.NodeID, fh, "end", 0)) // again with nothing cached
		b.unmount()
		check(t, other.Close())
		empty(t, fs)
	})
}

// TestOneFile_Replaced: while the file that had the name before is open, its pages are
// what the kernel's one cache has: the new file is read past it.
func TestOneFile_Replaced(t *testing.T) {
	fs := memfs.New(memfs.Options{})
	hostWrite(t, fs, "f", "old")
	g := mount(t, share.Config{Backend: share.OneFile(fs, "f")})
	old, direct := g.opened(fuse.RootID, posix.O_RDWR)
	if direct {
		t.Error("a file that was never replaced is read past the cache")
	}
	hostWrite(t, fs, "new", "new")
	check(t, fs.Host().Rename("new", fs.Host(), "f", 0))
	check(t, g.pwrite(fuse.RootID, old, "x", 0))
	now, direct := g.opened(fuse.RootID, posix.O_RDONLY)
	if !direct {
		t.Error("the new file is read through the old one's cache")
	}
	for fh, want := range map[uint64]string{old: "xld", now: "new"} {
		if got, err := g.pread(fuse.RootID, fh, 10, 0); got != want || err != nil {
			t.Errorf("read %q, %v; want %q", got, err, want)
		}
	}
	g.release(fuse.RootID, old)
	o, err := g.open(fuse.RootID, posix.O_RDONLY)
	check(t, err)
	if o.OpenFlags&(fuse.FopenDirectIO|fuse.FopenKeepCache) != 0 {
		t.Errorf("when the old one is closed: open flags %#x, want none", o.OpenFlags)
	}
	g.unmount()
}
