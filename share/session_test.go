package share_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/lock"
	"github.com/porthole-run/porthole/share/posix"
	"github.com/porthole-run/porthole/share/sharetest/memfs"
)

var sprintf = fmt.Sprintf

// empty checks that a session has given back all of a file system.
func empty(t *testing.T, fs *memfs.FS) {
	t.Helper()
	if nodes, files := fs.InUse(); nodes != 0 || files != 0 {
		t.Errorf("left in use: %d nodes, %d files", nodes, files)
	}
	if n := fs.Watched(); n != 0 {
		t.Errorf("left watched: %d folders", n)
	}
}

func TestInit(t *testing.T) {
	table := lock.New(lock.Limits{})
	for _, c := range []struct {
		name      string
		backend   share.Backend
		locker    share.Locker
		has, lack fuse.InitFlags
	}{
		{"private", memfs.New(memfs.Options{}), nil, fuse.ExplicitInvalData | fuse.HandleKillprivV2, fuse.PosixLocks | fuse.FlockLocks | fuse.AutoInvalData | fuse.WritebackCache},
		{"shared", memfs.New(memfs.Options{}), table.Session("a"), fuse.PosixLocks | fuse.FlockLocks, fuse.PosixACL | fuse.DontMask},
		{"remote", memfs.New(memfs.Options{Remote: true}), nil, fuse.AutoInvalData, fuse.ExplicitInvalData},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := serve(t, share.Config{Backend: c.backend, Locker: c.locker})
			defer g.unmount()
			out, err := g.init(^fuse.InitFlags(0))
			if err != nil || out.Flags&c.has != c.has || out.Flags&c.lack != 0 || out.MaxWrite != 1<<20 || out.Minor != 38 {
				t.Errorf("INIT = %+v, %v", out, err)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	fs := memfs.New(memfs.Options{})
	g := mount(t, share.Config{Backend: fs})
	dir := g.mkdir(fuse.RootID, "d")
	e, o := g.create(dir.NodeID, "f")
	if e.Attr.UID != 1000 || e.Attr.Mode != posix.S_IFREG|0o644 || e.NodeID == dir.NodeID {
		t.Errorf("created %+v", e)
	}
	if err := g.pwrite(e.NodeID, o.FH, "hello", 3); err != nil {
		t.Fatal(err)
	}
	if s, err := g.pread(e.NodeID, o.FH, 100, 1); s != "\x00\x00hello" || err != nil {
		t.Errorf("read %q, %v", s, err)
	}
	if _, err := g.do(fuse.OpLink, fuse.RootID, fuse.LinkIn{OldNodeID: e.NodeID}, names("l")); err != nil {
		t.Error(err)
	}
	if l, err := g.lookup(fuse.RootID, "l"); err != nil || l.NodeID != e.NodeID || l.Attr.Nlink != 2 {
		t.Errorf("the link is %+v, %v; want node %d", l, err, e.NodeID)
	}
	if _, err := g.do(fuse.OpRename2, dir.NodeID, fuse.Rename2In{NewDir: fuse.RootID}, names("f", "g")); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"g", "l"} {
		if _, err := g.do(fuse.OpUnlink, fuse.RootID, nil, names(name)); err != nil {
			t.Errorf("unlink %s: %v", name, err)
		}
	}
	d, err := g.do(fuse.OpGetattr, e.NodeID, fuse.GetattrIn{})
	var a fuse.AttrOut
	if a.Decode(&d); err != nil || a.Attr.Nlink != 0 || a.Attr.Size != 8 {
		t.Errorf("attributes of an unlinked file %+v, %v", a, err)
	}
	if _, err := g.do(fuse.OpRmdir, fuse.RootID, nil, names("d")); err != nil {
		t.Error(err)
	}
	g.release(e.NodeID, o.FH)
	if n, err := g.lookup(fuse.RootID, "none"); err != nil || n.NodeID != 0 || seconds(n.EntryValid, n.EntryValidNsec) != time.Minute {
		t.Errorf("a name that is not there: %+v, %v", n, err)
	}
	g.unmount()
	empty(t, fs)
}

func TestReaddir(t *testing.T) {
	fs := memfs.New(memfs.Options{})
	for i := range 400 {
		hostWrite(t, fs, fmt.Sprintf("file-%03d", i), "")
	}
	g := mount(t, share.Config{Backend: fs})
	for _, op := range []fuse.Opcode{fuse.OpReaddir, fuse.OpReaddirplus} {
		d, err := g.do(fuse.OpOpendir, fuse.RootID, fuse.OpenIn{})
		var o fuse.OpenOut
		if o.Decode(&d); err != nil {
			t.Fatal(err)
		}
		got, requests := map[string]int{}, 0
		for off := uint64(0); ; requests++ {
			d, err := g.do(op, fuse.RootID, fuse.ReadIn{FH: o.FH, Offset: off, Size: 32 << 10})
			if err != nil {
				t.Fatal(err)
			}
			if d.Len() == 0 {
				break
			}
			for d.Len() > 0 {
				var e fuse.Direntplus
				if op == fuse.OpReaddirplus {
					e.Decode(&d)
				} else {
					e.Dirent.Decode(&d)
				}
				if dots := e.Name == "." || e.Name == ".."; op == fuse.OpReaddirplus && dots != (e.Entry.NodeID == 0) {
					t.Errorf("%s has node %d", e.Name, e.Entry.NodeID)
				}
				got[e.Name]++
				off = e.Off
			}
			if d.Err() != nil {
				t.Fatal(d.Err())
			}
		}
		if len(got) != 402 || got["."] != 1 || got["file-399"] != 1 {
			t.Errorf("%v gave %d names", op, len(got))
		}
		if requests > 2+400/180 {
			t.Errorf("%v took %d requests", op, requests)
		}
		if _, err := g.do(fuse.OpReleasedir, fuse.RootID, fuse.ReleaseIn{FH: o.FH}); err != nil {
			t.Error(err)
		}
	}
	g.unmount()
	empty(t, fs)
}

func TestReadOnly(t *testing.T) {
	fs := memfs.New(memfs.Options{})
	hostWrite(t, fs, "f", "data")
	g := mount(t, share.Config{Backend: fs, ReadOnly: true})
	defer g.unmount()
	f, err := g.lookup(fuse.RootID, "f")
	if err != nil {
		t.Fatal(err)
	}
	o, err := g.open(f.NodeID, posix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := g.pread(f.NodeID, o.FH, 10, 0); s != "data" || err != nil {
		t.Errorf("read %q, %v", s, err)
	}
	const root = fuse.RootID
	for _, c := range []struct {
		op   fuse.Opcode
		node uint64
		body appender
		tail []byte
	}{
		{fuse.OpSetattr, f.NodeID, fuse.SetattrIn{Valid: fuse.FattrMode}, nil},
		{fuse.OpSymlink, root, nil, names("a", "b")}, {fuse.OpMknod, root, fuse.MknodIn{}, names("a")},
		{fuse.OpMkdir, root, fuse.MkdirIn{}, names("a")}, {fuse.OpUnlink, root, nil, names("f")},
		{fuse.OpRmdir, root, nil, names("f")}, {fuse.OpRename, root, fuse.RenameIn{NewDir: 1}, names("f", "g")},
		{fuse.OpRename2, root, fuse.Rename2In{NewDir: 1}, names("f", "g")}, {fuse.OpLink, root, fuse.LinkIn{OldNodeID: f.NodeID}, names("g")},
		{fuse.OpOpen, f.NodeID, fuse.OpenIn{Flags: posix.O_RDWR}, nil}, {fuse.OpOpen, f.NodeID, fuse.OpenIn{Flags: posix.O_TRUNC}, nil},
		{fuse.OpWrite, f.NodeID, fuse.WriteIn{FH: o.FH, Size: 1}, []byte("x")}, {fuse.OpSetxattr, f.NodeID, fuse.SetxattrIn{}, names("user.a")},
		{fuse.OpRemovexattr, f.NodeID, nil, names("user.a")}, {fuse.OpCreate, root, fuse.CreateIn{}, names("a")},
		{fuse.OpTmpfile, root, fuse.CreateIn{}, names("a")}, {fuse.OpFallocate, f.NodeID, fuse.FallocateIn{FH: o.FH, Length: 1}, nil},
		{fuse.OpCopyFileRange, f.NodeID, fuse.CopyFileRangeIn{FHIn: o.FH, FHOut: o.FH, NodeIDOut: f.NodeID}, nil},
	} {
		if _, err := g.do(c.op, c.node, c.body, c.tail); !errors.Is(err, posix.EROFS) {
			t.Errorf("%v = %v, want EROFS", c.op, err)
		}
	}
}

func TestKeepCache(t *testing.T) {
	fs := memfs.New(memfs.Options{})
	hostWrite(t, fs, "f", "one")
	g := mount(t, share.Config{Backend: fs})
	defer g.unmount()
	f, _ := g.lookup(fuse.RootID, "f")
	for i, want := range []bool{false, true, false, true} {
		if i == 2 {
			hostWrite(t, fs, "f", "two")
		}
		o, err := g.open(f.NodeID, posix.O_RDONLY)
		if err != nil || o.OpenFlags&fuse.FopenKeepCache != 0 != want {
			t.Errorf("open %d: %+v, %v, want kept %v", i, o, err, want)
		}
		g.release(f.NodeID, o.FH)
	}
}

func TestXattrErrors(t *testing.T) {
	g := mount(t, share.Config{Backend: memfs.New(memfs.Options{})})
	defer g.unmount()
	long := "user." + strings.Repeat("x", 255)
	for _, c := range []struct {
		name string
		op   fuse.Opcode
		body appender
		tail []byte
		want posix.Errno
	}{
		{"set", fuse.OpSetxattr, fuse.SetxattrIn{Size: 2}, append(names("user.a"), "vv"...), 0},
		{"create", fuse.OpSetxattr, fuse.SetxattrIn{Flags: posix.XATTR_CREATE}, names("user.a"), posix.EEXIST},
		{"replace", fuse.OpSetxattr, fuse.SetxattrIn{Flags: posix.XATTR_REPLACE}, names("user.b"), posix.ENODATA},
		{"probe", fuse.OpGetxattr, fuse.GetxattrIn{}, names("user.a"), 0},
		{"small", fuse.OpGetxattr, fuse.GetxattrIn{Size: 1}, names("user.a"), posix.ERANGE},
		{"none", fuse.OpGetxattr, fuse.GetxattrIn{Size: 9}, names("user.c"), posix.ENODATA},
		{"long", fuse.OpGetxattr, fuse.GetxattrIn{}, names(long), posix.ERANGE},
		{"system", fuse.OpSetxattr, fuse.SetxattrIn{}, names("system.posix_acl_access"), posix.EOPNOTSUPP},
		{"large", fuse.OpSetxattr, fuse.SetxattrIn{Size: 65537}, append(names("user.d"), make([]byte, 65537)...), posix.E2BIG},
		{"remove", fuse.OpRemovexattr, nil, names("user.a"), 0},
		{"remove_again", fuse.OpRemovexattr, nil, names("user.a"), posix.ENODATA},
	} {
		if _, err := g.do(c.op, fuse.RootID, c.body, c.tail); posix.FromError(err) != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := lock.New(lock.Limits{})
		fs := memfs.New(memfs.Options{})
		hostWrite(t, fs, "f", "data")
		a := mount(t, share.Config{Backend: fs, Locker: table.Session("a")})
		b := mount(t, share.Config{Backend: &second{fs}, Locker: table.Session("b")})
		defer a.unmount()
		defer b.unmount()
		fa, _ := a.lookup(fuse.RootID, "f")
		fb, _ := b.lookup(fuse.RootID, "f")
		oa, _ := a.open(fa.NodeID, posix.O_RDWR)
		ob, _ := b.open(fb.NodeID, posix.O_RDWR)
		lk := func(fh, owner uint64, typ, flags uint32) fuse.LkIn {
			return fuse.LkIn{FH: fh, Owner: owner, End: 1<<63 - 1, Type: typ, PID: 5, Flags: flags}
		}
		set := func(g *guest, node uint64, l fuse.LkIn, want posix.Errno) {
			t.Helper()
			if _, err := g.do(fuse.OpSetlk, node, l); posix.FromError(err) != want {
				t.Errorf("SETLK = %v, want %v", err, want)
			}
		}
		set(a, fa.NodeID, lk(oa.FH, 1, posix.F_WRLCK, 0), 0)
		set(b, fb.NodeID, lk(ob.FH, 1, posix.F_RDLCK, 0), posix.EAGAIN)
		set(b, fb.NodeID, lk(ob.FH, 9, posix.F_WRLCK, fuse.LkFlock), 0) // of another kind
		d, err := b.do(fuse.OpGetlk, fb.NodeID, lk(ob.FH, 1, posix.F_RDLCK, 0))
		var out fuse.LkOut
		if out.Decode(&d); err != nil || out.Type != posix.F_WRLCK || out.PID != 0 {
			t.Errorf("GETLK = %+v, %v", out, err)
		}
		// A wait that a signal ends, and one that the other's close ends.
		c, unique := b.start(fuse.InHeader{Opcode: fuse.OpSetlkw, NodeID: fb.NodeID}, lk(ob.FH, 1, posix.F_RDLCK, 0))
		synctest.Wait()
		b.send(fuse.AppendRequest(nil, fuse.InHeader{Opcode: fuse.OpInterrupt, Unique: 3}, fuse.InterruptIn{Unique: unique}))
		if _, err := b.wait(c); !errors.Is(err, posix.EINTR) {
			t.Errorf("an interrupted SETLKW = %v", err)
		}
		c, _ = b.start(fuse.InHeader{Opcode: fuse.OpSetlkw, NodeID: fb.NodeID}, lk(ob.FH, 1, posix.F_RDLCK, 0))
		synctest.Wait()
		if _, err := a.do(fuse.OpFlush, fa.NodeID, fuse.FlushIn{FH: oa.FH, LockOwner: 1}); err != nil {
			t.Error(err)
		}
		if _, err := b.wait(c); err != nil {
			t.Errorf("SETLKW = %v", err)
		}
		// What an open file description has goes with it, whoever its owner.
		b.release(fb.NodeID, ob.FH)
		set(a, fa.NodeID, lk(oa.FH, 2, posix.F_WRLCK, 0), 0)
		set(a, fa.NodeID, lk(oa.FH, 2, posix.F_WRLCK, fuse.LkFlock), 0)
	})
}

// second is a file system to a second session: events are the first's alone.
type second struct{ *memfs.FS }

func (s *second) Events() <-chan share.Event { return nil }
func (s *second) Watch(share.Node) error     { return posix.ENOSPC }
func (s *second) Unwatch(share.Node)         {}

func hostWrite(t *testing.T, fs *memfs.FS, name, data string) {
	t.Helper()
	n, f, _, err := fs.Host().Create(name, posix.O_RDWR|posix.O_TRUNC, share.New{Mode: posix.S_IFREG | 0o644})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Release()
	if data != "" {
		if _, err := f.WriteAt([]byte(data), 0, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// gone is a stream whose other end sent something and cannot be written to.
type gone struct {
	io.Reader
	err error
}

func (g gone) Write([]byte) (int, error) { return 0, g.err }
func (g gone) Close() error              { return nil }

// TestEndWithAnswerOwed is a guest that has ended before its last answer reached it.
func TestEndWithAnswerOwed(t *testing.T) {
	for _, c := range []struct {
		err    error
		failed bool
	}{
		{os.NewSyscallError("write", syscall.EPIPE), false},
		{os.NewSyscallError("write", syscall.ECONNRESET), false},
		{io.ErrClosedPipe, false},
		{os.NewSyscallError("write", syscall.EIO), true},
	} {
		s, err := share.NewSession(share.Config{Backend: memfs.New(memfs.Options{}), Private: true})
		if err != nil {
			t.Fatal(err)
		}
		sent := fuse.AppendRequest(nil, fuse.InHeader{Opcode: fuse.OpHello}, fuse.Hello{Version: fuse.ControlVersion, TID: injectorTID})
		sent = fuse.AppendRequest(sent, fuse.InHeader{Opcode: fuse.OpInit, Unique: 2}, fuse.InitIn{Major: 7, Minor: 38})
		err = s.Serve(t.Context(), gone{bytes.NewReader(sent), c.err})
		if (err != nil) != c.failed {
			t.Errorf("Serve with answers that meet %v = %v", c.err, err)
		}
	}
}
