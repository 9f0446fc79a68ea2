package share_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
	"github.com/porthole-run/porthole/share/sharetest/memfs"
)

// kernel plays the guest kernel's part of an injection in the share's root, with nothing
// cached, and logs the inotify events that it would raise.
type kernel struct {
	g   *guest
	log []string
}

func (k *kernel) inject(m fuse.Inject) posix.Errno {
	g := k.g
	find := func(name string) (uint64, posix.Errno) {
		if name == "" {
			return fuse.RootID, 0
		}
		e, err := g.entry(g.as(injectorTID, fuse.OpLookup, fuse.RootID, nil, names(name)))
		if err == nil && e.NodeID == 0 {
			err = posix.ENOENT
		}
		return e.NodeID, posix.FromError(err)
	}
	do := func(op fuse.Opcode, node uint64, body appender, tail ...string) posix.Errno {
		_, err := g.as(injectorTID, op, node, body, names(tail...))
		return posix.FromError(err)
	}
	raise := func(event string) { k.log = append(k.log, strings.TrimSpace(event+" "+m.Path)) }
	node, missing := find(m.Path)
	switch m.Kind {
	case fuse.InjectMknod, fuse.InjectMkdir, fuse.InjectSymlink:
		if missing == 0 {
			return posix.EEXIST
		}
		var e posix.Errno
		switch m.Kind {
		case fuse.InjectMknod:
			e = do(fuse.OpMknod, fuse.RootID, fuse.MknodIn{Mode: m.Mode}, m.Path)
		case fuse.InjectMkdir:
			e = do(fuse.OpMkdir, fuse.RootID, fuse.MkdirIn{Mode: m.Mode}, m.Path)
		default:
			e = do(fuse.OpSymlink, fuse.RootID, nil, m.Path, "x")
		}
		if e == 0 {
			raise("CREATE")
		}
		return e
	}
	if missing != 0 {
		return missing
	}
	switch m.Kind {
	case fuse.InjectModify, fuse.InjectClose:
		d, err := g.as(injectorTID, fuse.OpOpen, node, fuse.OpenIn{Flags: posix.O_WRONLY})
		var o fuse.OpenOut
		if o.Decode(&d); err != nil || o.OpenFlags&fuse.FopenDirectIO == 0 {
			return posix.EIO
		}
		if m.Kind == fuse.InjectModify {
			if _, err := g.as(injectorTID, fuse.OpWrite, node, fuse.WriteIn{FH: o.FH, Size: 1}, []byte("x")); err != nil {
				return posix.FromError(err)
			}
		}
		g.as(injectorTID, fuse.OpFlush, node, fuse.FlushIn{FH: o.FH})
		g.as(0, fuse.OpRelease, node, fuse.ReleaseIn{FH: o.FH})
		if m.Kind == fuse.InjectModify {
			raise("MODIFY CLOSE_WRITE")
		} else {
			raise("CLOSE_WRITE")
		}
	case fuse.InjectTruncate:
		if e := do(fuse.OpSetattr, node, fuse.SetattrIn{Valid: fuse.FattrSize}); e != 0 {
			return e
		}
		raise("MODIFY")
	case fuse.InjectChmod:
		if e := do(fuse.OpSetattr, node, fuse.SetattrIn{Valid: fuse.FattrMode, Mode: m.Mode}); e != 0 {
			return e
		}
		raise("ATTRIB")
	case fuse.InjectTouch:
		if e := do(fuse.OpSetattr, node, fuse.SetattrIn{Valid: fuse.FattrAtimeNow | fuse.FattrMtimeNow}); e != 0 {
			return e
		}
		raise("ATTRIB")
	case fuse.InjectUnlink, fuse.InjectRmdir:
		op := fuse.OpUnlink
		if m.Kind == fuse.InjectRmdir {
			op = fuse.OpRmdir
		}
		if e := do(op, fuse.RootID, nil, m.Path); e != 0 {
			return e
		}
		raise("DELETE")
	case fuse.InjectRename:
		old, missing := find(m.To)
		if e := do(fuse.OpRename2, fuse.RootID, fuse.Rename2In{NewDir: fuse.RootID}, m.Path, m.To); e != 0 {
			return e
		}
		raise("MOVED_FROM")
		k.log = append(k.log, "MOVED_TO "+m.To)
		if missing == 0 && old != 0 {
			k.log = append(k.log, "DELETE_SELF "+m.To)
		}
	}
	return 0
}

func (k *kernel) events() string {
	k.g.mu.Lock()
	defer k.g.mu.Unlock()
	s := strings.Join(k.log, "; ")
	k.log = nil
	return s
}

// watching mounts a file system whose root the guest has looked into.
func watching(t *testing.T, fs *memfs.FS) *kernel {
	g := mount(t, share.Config{Backend: fs})
	k := &kernel{g: g}
	g.inject = k.inject
	if _, err := g.lookup(fuse.RootID, "none"); err != nil {
		t.Fatal(err)
	}
	return k
}

// settled waits until all that was done on the host has been told.
func settled() {
	time.Sleep(time.Second)
	synctest.Wait()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestInotify(t *testing.T) {
	steps := []struct {
		name string
		do   func(t *testing.T, fs *memfs.FS, h share.Node) error
		want string
	}{
		{"create", func(t *testing.T, fs *memfs.FS, _ share.Node) error { hostWrite(t, fs, "a", "data"); return nil },
			"CREATE a; MODIFY CLOSE_WRITE a"},
		{"create_empty", func(t *testing.T, fs *memfs.FS, _ share.Node) error { hostWrite(t, fs, "e", ""); return nil },
			"CREATE e; CLOSE_WRITE e"},
		{"modify", func(t *testing.T, fs *memfs.FS, _ share.Node) error { hostWrite(t, fs, "a", "more"); return nil },
			"MODIFY CLOSE_WRITE a"},
		{"truncate", func(t *testing.T, fs *memfs.FS, h share.Node) error {
			n, _, err := h.Lookup("a")
			check(t, err)
			defer n.Release()
			_, err = n.SetAttr(share.SetAttr{Fields: share.SetSize})
			return err
		}, "MODIFY a"},
		{"chmod", func(t *testing.T, fs *memfs.FS, h share.Node) error {
			n, _, err := h.Lookup("a")
			check(t, err)
			defer n.Release()
			_, err = n.SetAttr(share.SetAttr{Fields: share.SetMode, Mode: 0o600})
			return err
		}, "ATTRIB a"},
		{"close", func(t *testing.T, fs *memfs.FS, h share.Node) error {
			n, _, err := h.Lookup("a")
			check(t, err)
			defer n.Release()
			f, err := n.Open(posix.O_RDWR)
			check(t, err)
			return f.Close()
		}, "CLOSE_WRITE a"},
		{"late_close", func(t *testing.T, fs *memfs.FS, h share.Node) error {
			n, _, err := h.Lookup("a")
			check(t, err)
			defer n.Release()
			f, err := n.Open(posix.O_RDWR)
			check(t, err)
			_, err = f.WriteAt([]byte("x"), 0, false)
			check(t, err)
			settled()
			return f.Close()
		}, "MODIFY CLOSE_WRITE a; CLOSE_WRITE a"},
		{"close_and_write", func(t *testing.T, fs *memfs.FS, h share.Node) error {
			n, _, err := h.Lookup("a")
			check(t, err)
			defer n.Release()
			for _, data := range []string{"", "x"} {
				f, err := n.Open(posix.O_RDWR)
				check(t, err)
				if data != "" {
					_, err = f.WriteAt([]byte(data), 0, false)
					check(t, err)
				}
				check(t, f.Close())
			}
			return nil
		}, "MODIFY CLOSE_WRITE a"},
		{"symlink", func(t *testing.T, fs *memfs.FS, h share.Node) error {
			n, _, err := h.Symlink("l", "a", share.Owner{})
			check(t, err)
			n.Release()
			return nil
		}, "CREATE l"},
		{"symlink_times", func(t *testing.T, fs *memfs.FS, h share.Node) error {
			n, _, err := h.Lookup("l")
			check(t, err)
			defer n.Release()
			_, err = n.SetAttr(share.SetAttr{Fields: share.SetMtimeNow})
			return err
		}, "ATTRIB l"},
		{"mkdir", func(t *testing.T, fs *memfs.FS, h share.Node) error {
			n, _, err := h.Mkdir("d", share.New{Mode: posix.S_IFDIR | 0o755})
			check(t, err)
			n.Release()
			return nil
		}, "CREATE d"},
		{"rename", func(_ *testing.T, fs *memfs.FS, h share.Node) error { return h.Rename("a", h, "b", 0) },
			"MOVED_FROM a; MOVED_TO b"},
		{"rename_over", func(_ *testing.T, fs *memfs.FS, h share.Node) error { return h.Rename("e", h, "b", 0) },
			"MOVED_FROM e; MOVED_TO b; DELETE_SELF b"},
		{"unlink", func(_ *testing.T, fs *memfs.FS, h share.Node) error { return h.Unlink("b") }, "DELETE b"},
		{"rmdir", func(_ *testing.T, fs *memfs.FS, h share.Node) error { return h.Rmdir("d") }, "DELETE d"},
		{"short_lived", func(t *testing.T, fs *memfs.FS, h share.Node) error { hostWrite(t, fs, "s", ""); return h.Unlink("s") },
			"CREATE s; DELETE s"},
		{"data_swap", func(t *testing.T, fs *memfs.FS, h share.Node) error {
			for _, target := range []string{"..1", "..2"} {
				n, _, err := h.Symlink("..data_tmp", target, share.Owner{})
				check(t, err)
				n.Release()
				check(t, h.Rename("..data_tmp", h, "..data", 0))
			}
			return nil
		}, "CREATE ..data_tmp; MOVED_FROM ..data_tmp; MOVED_TO ..data; CREATE ..data_tmp; MOVED_FROM ..data_tmp; MOVED_TO ..data"},
	}
	for _, untold := range []bool{false, true} {
		t.Run(fmt.Sprintf("untold_%v", untold), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := memfs.New(memfs.Options{Untold: untold})
				k := watching(t, fs)
				for _, s := range steps {
					check(t, s.do(t, fs, fs.Host()))
					settled()
					if got := k.events(); got != s.want {
						t.Errorf("%s gave %q, want %q", s.name, got, s.want)
					}
				}
				k.g.unmount()
				empty(t, fs)
			})
		})
	}
}

func TestInotify_NoEcho(t *testing.T) {
	for _, untold := range []bool{false, true} {
		t.Run(fmt.Sprintf("untold_%v", untold), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := memfs.New(memfs.Options{Untold: untold})
				k := watching(t, fs)
				g := k.g
				e, o := g.create(fuse.RootID, "f")
				check(t, g.pwrite(e.NodeID, o.FH, "data", 0))
				_, err := g.do(fuse.OpSetattr, e.NodeID, fuse.SetattrIn{Valid: fuse.FattrMode, Mode: 0o600})
				check(t, err)
				g.release(e.NodeID, o.FH)
				_, err = g.do(fuse.OpRename, fuse.RootID, fuse.RenameIn{NewDir: fuse.RootID}, names("f", "g"))
				check(t, err)
				settled()
				_, err = g.do(fuse.OpUnlink, fuse.RootID, nil, names("g"))
				check(t, err)
				settled()
				if got := k.events(); got != "" {
					t.Errorf("the guest's own changes gave %q", got)
				}
				// The same by the host right after is no echo.
				hostWrite(t, fs, "f", "")
				settled()
				if got := k.events(); got == "" {
					t.Error("the host's change gave nothing")
				}
				g.unmount()
			})
		})
	}
}

// TestInotify_LateClose: a writer that closes long after it has made the file.
func TestInotify_LateClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := memfs.New(memfs.Options{})
		k := watching(t, fs)
		n, f, _, err := fs.Host().Create("f", posix.O_RDWR, share.New{Mode: posix.S_IFREG | 0o644})
		check(t, err)
		settled()
		check(t, f.Close())
		n.Release()
		settled()
		if got, want := k.events(), "CREATE f; CLOSE_WRITE f"; got != want {
			t.Errorf("events %q, want %q", got, want)
		}
		k.g.unmount()
	})
}

func TestInotify_Burst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := memfs.New(memfs.Options{})
		k := watching(t, fs)
		for i := range 1000 {
			hostWrite(t, fs, fmt.Sprint(i), "")
		}
		settled()
		if n := strings.Count(k.events(), "CREATE"); n != 1000 {
			t.Errorf("%d of 1000 files raised an event", n)
		}
		k.g.unmount()
		empty(t, fs)
	})
}

func TestInotify_Overflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := memfs.New(memfs.Options{Events: 10})
		k := watching(t, fs)
		hostWrite(t, fs, "known", "")
		settled()
		k.events()
		k.g.seen()
		for i := range 1000 {
			n, _, err := fs.Host().Mknod(fmt.Sprint(i), share.New{Mode: posix.S_IFREG})
			check(t, err)
			n.Release()
		}
		settled()
		if got := k.events(); !strings.Contains(got, "ATTRIB") {
			t.Errorf("an overflow gave %q, want an event on the folder", got)
		}
		for _, name := range []string{"known", "none"} {
			if got := k.g.seen(); !strings.Contains(got, "entry 1 "+name+" 1") {
				t.Errorf("%s was not dropped", name)
				k.g.notes = strings.Split(got, "; ")
			} else {
				k.g.notes = strings.Split(got, "; ")
			}
		}
		k.g.unmount()
	})
}

// TestInject_Refused: what the injector asks that is not armed changes nothing.
func TestInject_Refused(t *testing.T) {
	fs := memfs.New(memfs.Options{})
	hostWrite(t, fs, "f", "data")
	g := mount(t, share.Config{Backend: fs})
	defer g.unmount()
	f, err := g.lookup(fuse.RootID, "f")
	check(t, err)
	for _, c := range []struct {
		op   fuse.Opcode
		node uint64
		body appender
		tail []byte
	}{
		{fuse.OpMknod, 1, fuse.MknodIn{}, names("a")}, {fuse.OpUnlink, 1, nil, names("f")},
		{fuse.OpSetattr, f.NodeID, fuse.SetattrIn{Valid: fuse.FattrSize}, nil}, {fuse.OpOpen, f.NodeID, fuse.OpenIn{Flags: 1}, nil},
		{fuse.OpRename, 1, fuse.RenameIn{NewDir: 1}, names("f", "g")}, {fuse.OpCreate, 1, fuse.CreateIn{}, names("a")},
	} {
		if _, err := g.as(injectorTID, c.op, c.node, c.body, c.tail); posix.FromError(err) != posix.ECANCELED {
			t.Errorf("%v = %v, want ECANCELED", c.op, err)
		}
	}
}

// TestInject_Hangs: an injection that never ends stops injections, and nothing else.
func TestInject_Hangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := memfs.New(memfs.Options{})
		k := watching(t, fs)
		stuck := make(chan struct{})
		k.g.inject = func(fuse.Inject) posix.Errno { <-stuck; return posix.EIO }
		hostWrite(t, fs, "a", "")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		k.g.seen()
		hostWrite(t, fs, "b", "")
		settled()
		if got := k.g.seen(); !strings.Contains(got, "entry 1 b") {
			t.Errorf("the guest was told %q of a later change", got)
		}
		close(stuck)
		k.g.unmount()
	})
}

func TestInvalidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := memfs.New(memfs.Options{})
		hostWrite(t, fs, "f", "data")
		g := mount(t, share.Config{Backend: &second{fs}})
		f, err := g.lookup(fuse.RootID, "f")
		check(t, err)
		g.mu.Lock()
		g.hold = true
		g.mu.Unlock()
		done := make(chan error, 1)
		go func() {
			done <- g.s.Invalidate(t.Context(), []share.Change{
				{File: share.FileID{Volume: 1, File: f.Attr.Ino}, Off: 4096, Len: 10}, {File: share.FileID{File: 99}},
				{Dir: fs.Root().ID(), Name: "f"}})
		}()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("Invalidate = %v before the kernel has answered", err)
		default:
		}
		if got, want := g.seen(), sprintf("inode %d 4096 10; inode 1 -1 0; entry 1 f 1", f.NodeID); got != want {
			t.Errorf("notifications %q, want %q", got, want)
		}
		// What is answered meanwhile is not to be kept.
		e, err := g.lookup(fuse.RootID, "f")
		if err != nil || e.EntryValid != 0 || e.EntryValidNsec != 0 || e.AttrValid != 0 {
			t.Errorf("a lookup meanwhile %+v, %v", e, err)
		}
		g.ack(3)
		check(t, <-done)
		if e, err = g.lookup(fuse.RootID, "f"); err != nil || e.EntryValid == 0 || e.AttrValid == 0 {
			t.Errorf("a lookup after %+v, %v", e, err)
		}
		// The zero change is of all that the guest knows.
		check(t, g.s.Invalidate(t.Context(), []share.Change{{}}))
		synctest.Wait()
		got := strings.Split(g.seen(), "; ") // of nodes in any order
		slices.Sort(got)
		want := []string{"entry 1 f 1", "inode 1 0 0", sprintf("inode %d 0 0", f.NodeID)}
		if !slices.Equal(got, want) {
			t.Errorf("notifications of all %q, want %q", got, want)
		}
		g.ack(3)
		// It ends with its context, and with the session.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.s.Invalidate(ctx, []share.Change{{Dir: fs.Root().ID(), Name: "f"}}); err != context.DeadlineExceeded {
			t.Errorf("Invalidate of a guest that does not answer = %v", err)
		}
		go func() { done <- g.s.Invalidate(t.Context(), []share.Change{{Dir: fs.Root().ID(), Name: "f"}}) }()
		synctest.Wait()
		g.unmount()
		check(t, <-done)
	})
}

// pair joins two sessions as an arbiter would.
type pair struct{ other *guest }

func (p *pair) Shared() bool { return p.other != nil }
func (p *pair) Announce(ctx context.Context, c []share.Change) {
	_ = p.other.s.Invalidate(ctx, c) // ends when the other's session does
}

// TestAnnounce_EachOther: two guests that change one folder at once, each with the
// folder locked in its kernel until its request is answered, do not wait for each other.
func TestAnnounce_EachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := memfs.New(memfs.Options{})
		var pa, pb pair
		a := mount(t, share.Config{Backend: &second{fs}, Peers: &pa})
		b := mount(t, share.Config{Backend: &second{fs}, Peers: &pb})
		for _, g := range []*guest{a, b} {
			g.mu.Lock()
			g.hold = true // as a kernel does whose folder is locked
			g.mu.Unlock()
		}
		pa.other, pb.other = b, a
		synctest.Wait() // both have begun
		ca, _ := a.start(fuse.InHeader{Opcode: fuse.OpMkdir, NodeID: 1}, fuse.MkdirIn{Mode: 0o755}, names("a"))
		synctest.Wait()
		cb, _ := b.start(fuse.InHeader{Opcode: fuse.OpMkdir, NodeID: 1}, fuse.MkdirIn{Mode: 0o755}, names("b"))
		_, err := b.wait(cb)
		check(t, err)
		b.mu.Lock()
		held := b.held
		b.mu.Unlock()
		b.ack(held) // its request is answered, the folder is free
		_, err = a.wait(ca)
		check(t, err)
		a.unmount()
		b.unmount()
	})
}
