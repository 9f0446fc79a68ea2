package share_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
	"github.com/porthole-run/porthole/share/sharetest/memfs"
)

func TestForged(t *testing.T) {
	fs := memfs.New(memfs.Options{})
	hostWrite(t, fs, "f", "data")
	g := mount(t, share.Config{Backend: fs})
	f, err := g.lookup(fuse.RootID, "f")
	check(t, err)
	o, err := g.open(f.NodeID, posix.O_RDONLY)
	check(t, err)
	long := string(bytes.Repeat([]byte("x"), 256))
	for _, c := range []struct {
		name string
		op   fuse.Opcode
		node uint64
		body appender
		tail []byte
		want posix.Errno
	}{
		{"node", fuse.OpGetattr, 12345, fuse.GetattrIn{}, nil, posix.ESTALE},
		{"node_0", fuse.OpLookup, 0, nil, names("f"), posix.ESTALE},
		{"handle", fuse.OpRead, f.NodeID, fuse.ReadIn{FH: 999, Size: 1}, nil, posix.EBADF},
		{"handle_of_another", fuse.OpRead, fuse.RootID, fuse.ReadIn{FH: o.FH, Size: 1}, nil, posix.EBADF},
		{"handle_for_reading", fuse.OpWrite, f.NodeID, fuse.WriteIn{FH: o.FH, Size: 1}, []byte("x"), posix.EBADF},
		{"injectors_handle", fuse.OpWrite, f.NodeID, fuse.WriteIn{FH: 1<<64 - 1, Size: 1}, []byte("x"), posix.EBADF},
		{"release_twice", fuse.OpRelease, f.NodeID, fuse.ReleaseIn{FH: 999}, nil, posix.EBADF},
		{"dot_dot", fuse.OpLookup, 1, nil, names(".."), posix.EINVAL},
		{"slash", fuse.OpLookup, 1, nil, names("a/b"), posix.EINVAL},
		{"empty", fuse.OpMkdir, 1, fuse.MkdirIn{}, names(""), posix.EINVAL},
		{"long", fuse.OpMkdir, 1, fuse.MkdirIn{}, names(long), posix.ENAMETOOLONG},
		{"mkdir_dot_dot", fuse.OpMkdir, 1, fuse.MkdirIn{}, names(".."), posix.EINVAL},
		{"rename_dot_dot", fuse.OpRename, 1, fuse.RenameIn{NewDir: 1}, names("f", "../x"), posix.EINVAL},
		{"rename_to_file", fuse.OpRename, 1, fuse.RenameIn{NewDir: f.NodeID}, names("f", "x"), posix.ENOTDIR},
		{"whiteout", fuse.OpRename2, 1, fuse.Rename2In{NewDir: 1, Flags: posix.RENAME_WHITEOUT}, names("f", "x"), posix.EINVAL},
		{"lookup_in_file", fuse.OpLookup, f.NodeID, nil, names("x"), posix.ENOTDIR},
		{"read_huge", fuse.OpRead, f.NodeID, fuse.ReadIn{FH: o.FH, Size: 1<<32 - 1}, nil, posix.EINVAL},
		{"read_far", fuse.OpRead, f.NodeID, fuse.ReadIn{FH: o.FH, Offset: 1 << 63, Size: 1}, nil, posix.EINVAL},
		{"set_size_huge", fuse.OpSetattr, f.NodeID, fuse.SetattrIn{Valid: fuse.FattrSize, Size: 1 << 63}, nil, posix.EFBIG},
		{"mknod_of_folder", fuse.OpMknod, 1, fuse.MknodIn{Mode: posix.S_IFDIR}, names("x"), posix.EINVAL},
		{"open_folder", fuse.OpOpen, 1, fuse.OpenIn{}, nil, posix.EISDIR},
		{"lock", fuse.OpSetlk, f.NodeID, fuse.LkIn{FH: o.FH}, nil, posix.ENOSYS},
		{"ioctl", fuse.OpIoctl, f.NodeID, fuse.IoctlIn{}, nil, posix.ENOTTY},
		{"unknown", 4000, 1, nil, nil, posix.ENOSYS},
		{"access", fuse.OpAccess, 1, fuse.AccessIn{}, nil, posix.ENOSYS},
	} {
		if _, err := g.do(c.op, c.node, c.body, c.tail); posix.FromError(err) != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	g.forget(f.NodeID, 1<<60) // more than it has: no more than all
	g.forget(777, 1)
	g.forget(fuse.RootID, 1<<60)
	if _, err := g.do(fuse.OpGetattr, fuse.RootID, fuse.GetattrIn{}); err != nil {
		t.Errorf("the root is forgotten: %v", err)
	}
	g.unmount()
	empty(t, fs)
}

// TestMalformed: each of these ends the session, and no more.
func TestMalformed(t *testing.T) {
	req := func(op fuse.Opcode, unique uint64, body appender, tail ...[]byte) []byte {
		return fuse.AppendRequest(nil, fuse.InHeader{Opcode: op, Unique: unique, NodeID: 1}, body, tail...)
	}
	for name, b := range map[string][]byte{
		"short_frame":       {10, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"huge_frame":        {0, 0, 0, 0x7f},
		"second_init":       req(fuse.OpInit, 9, fuse.InitIn{Major: 7, Minor: 38}),
		"second_hello":      req(fuse.OpHello, 0, fuse.Hello{Version: fuse.ControlVersion, TID: 5}),
		"no_unique":         req(fuse.OpGetattr, 0, fuse.GetattrIn{}),
		"short_body":        req(fuse.OpGetattr, 9, nil),
		"long_body":         req(fuse.OpGetattr, 9, fuse.GetattrIn{}, []byte{0}),
		"name_without_end":  req(fuse.OpLookup, 9, nil, []byte("name")),
		"nul_in_name":       req(fuse.OpLookup, 9, nil, []byte("na\x00me\x00")),
		"write_too_few":     req(fuse.OpWrite, 9, fuse.WriteIn{Size: 100}, []byte("x")),
		"write_too_many":    req(fuse.OpWrite, 9, fuse.WriteIn{Size: 1}, []byte("xyz")),
		"forget_count":      req(fuse.OpBatchForget, 9, fuse.BatchForgetIn{Count: 1 << 31}, make([]byte, 16)),
		"notified_unasked":  req(fuse.OpNotified, 0, fuse.Notified{}),
		"control_with_body": req(fuse.OpInjected, 0, fuse.Injected{}, []byte("more")),
	} {
		t.Run(name, func(t *testing.T) {
			fs := memfs.New(memfs.Options{})
			g := mount(t, share.Config{Backend: fs})
			g.create(fuse.RootID, "f")
			g.mu.Lock()
			g.waiting[9] = make(chan []byte, 1) // some are told
			g.mu.Unlock()
			g.send(b)
			if err := <-g.end; !errors.Is(err, fuse.ErrMalformed) {
				t.Errorf("Serve = %v, want malformed", err)
			}
			g.conn.Close()
			g.wg.Wait()
			empty(t, fs)
		})
	}
}

func TestBeforeInit(t *testing.T) {
	g := serve(t, share.Config{Backend: memfs.New(memfs.Options{})})
	if _, err := g.lookup(fuse.RootID, "f"); err != errEnded {
		t.Errorf("LOOKUP before INIT = %v", err)
	}
	g.conn.Close()
	if err := <-g.end; !errors.Is(err, fuse.ErrMalformed) {
		t.Errorf("Serve = %v", err)
	}
	g.wg.Wait()
}

// TestNeverReads: a guest that takes no replies cannot make the server hold more than
// its bounds, and is let go when asked.
func TestNeverReads(t *testing.T) {
	fs := memfs.New(memfs.Options{})
	s, err := share.NewSession(share.Config{Backend: fs, Private: true, Limits: share.Limits{Queued: 50, Active: 4}})
	check(t, err)
	host, conn := net.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	end := make(chan error, 1)
	go func() { end <- s.Serve(ctx, host) }()
	_, err = conn.Write(fuse.AppendRequest(nil, fuse.InHeader{Opcode: fuse.OpInit, Unique: 1}, fuse.InitIn{Major: 7, Minor: 38}))
	check(t, err)
	frames := fuse.NewReader(conn, 16, fuse.MaxFrame)
	for range 2 { // the answer, and the options
		_, err = frames.Next(func(n int) []byte { return make([]byte, n) })
		check(t, err)
	}
	taken := 0
	for ; taken < 10_000; taken++ {
		check(t, conn.SetWriteDeadline(time.Now().Add(200*time.Millisecond)))
		if _, err := conn.Write(fuse.AppendRequest(nil, fuse.InHeader{Opcode: fuse.OpStatfs, Unique: uint64(taken + 2), NodeID: 1}, nil)); err != nil {
			break
		}
	}
	// The reader's own buffer holds some hundreds more.
	if taken > 50+4+64<<10/40+2 {
		t.Errorf("the server took %d requests of a guest that reads nothing", taken)
	}
	stop()
	check(t, <-end)
	conn.Close()
	empty(t, fs)
}

func TestLimits(t *testing.T) {
	fs := memfs.New(memfs.Options{})
	for i := range 30 {
		hostWrite(t, fs, sprintf("%d", i), "")
	}
	g := mount(t, share.Config{Backend: fs, Limits: share.Limits{Nodes: 20, Handles: 5}})
	var got []fuse.EntryOut
	for i := range 30 {
		e, err := g.lookup(fuse.RootID, sprintf("%d", i))
		if i < 19 != (err == nil) || err != nil && posix.FromError(err) != posix.ENFILE {
			t.Errorf("lookup %d: %v", i, err)
		}
		got = append(got, e)
	}
	for range 100_000 / 10 { // counts, not files
		if _, err := g.lookup(fuse.RootID, "0"); err != nil {
			t.Fatal(err)
		}
	}
	g.forget(got[3].NodeID, 1)
	if _, err := g.lookup(fuse.RootID, "25"); err != nil {
		t.Errorf("lookup with room again: %v", err)
	}
	for i := range 7 {
		if _, err := g.open(got[0].NodeID, posix.O_RDONLY); i < 5 != (err == nil) || err != nil && posix.FromError(err) != posix.ENFILE {
			t.Errorf("open %d: %v", i, err)
		}
	}
	g.unmount()
	empty(t, fs)
}

// panicky has a file whose attributes panic.
type panicky struct{ share.Backend }

func (p panicky) Root() share.Node { return &panickyRoot{Node: p.Backend.Root()} }

type panickyRoot struct{ share.Node }

func (panickyRoot) StatFS() (share.StatFS, error) { panic("statfs") }

func TestPanic(t *testing.T) {
	g := mount(t, share.Config{Backend: panicky{memfs.New(memfs.Options{})}})
	if _, err := g.do(fuse.OpStatfs, 1, nil); posix.FromError(err) != posix.EIO {
		t.Errorf("a panic = %v, want EIO", err)
	}
	if _, err := g.do(fuse.OpGetattr, 1, fuse.GetattrIn{}); err != nil {
		t.Errorf("after a panic: %v", err)
	}
	if n := g.s.Stats()["panics"]; n != 1 {
		t.Errorf("%d panics counted", n)
	}
	g.conn.Close()
	<-g.end
	g.wg.Wait()
}

// stream is a guest that says what it has to say and hears nothing.
type stream struct{ *bytes.Reader }

func (stream) Write(b []byte) (int, error) { return len(b), nil }
func (stream) Close() error                { return nil }

// FuzzSession feeds a whole server with a guest's bytes, after INIT. It must neither
// panic nor keep anything.
func FuzzSession(f *testing.F) {
	req := func(op fuse.Opcode, node uint64, body appender, tail ...[]byte) []byte {
		return fuse.AppendRequest(nil, fuse.InHeader{Opcode: op, Unique: 7, NodeID: node, PID: injectorTID}, body, tail...)
	}
	f.Add(bytes.Join([][]byte{
		req(fuse.OpMkdir, 1, fuse.MkdirIn{Mode: 0o755}, names("d")), req(fuse.OpCreate, 2, fuse.CreateIn{Flags: 2}, names("f")),
		req(fuse.OpWrite, 3, fuse.WriteIn{FH: 1, Size: 4}, []byte("data")), req(fuse.OpRename2, 2, fuse.Rename2In{NewDir: 1}, names("f", "g")),
		req(fuse.OpOpendir, 1, fuse.OpenIn{}), req(fuse.OpReaddirplus, 1, fuse.ReadIn{FH: 2, Size: 4096}),
		req(fuse.OpRelease, 3, fuse.ReleaseIn{FH: 1}), req(fuse.OpBatchForget, 0, fuse.BatchForgetIn{Count: 1}, fuse.ForgetOne{NodeID: 3, Nlookup: 9}.Append(nil)),
	}, nil))
	f.Add(req(fuse.OpSetxattr, 1, fuse.SetxattrIn{Size: 1}, names("user.a"), []byte("v")))
	f.Add(req(fuse.OpSetattr, 1, fuse.SetattrIn{Valid: 1<<32 - 1}))
	f.Add(req(fuse.OpLink, 1, fuse.LinkIn{OldNodeID: 1}, names("l")))
	f.Add(append(req(fuse.OpTmpfile, 1, fuse.CreateIn{Flags: 2}, names("")), req(fuse.OpFallocate, 2, fuse.FallocateIn{FH: 1, Length: 5})...))
	f.Add(req(fuse.OpCopyFileRange, 1, fuse.CopyFileRangeIn{Len: 1 << 63}))
	begin := append(fuse.AppendRequest(nil, fuse.InHeader{Opcode: fuse.OpHello}, fuse.Hello{Version: fuse.ControlVersion, TID: injectorTID}),
		fuse.AppendRequest(nil, fuse.InHeader{Opcode: fuse.OpInit, Unique: 1}, fuse.InitIn{Major: 7, Minor: 38, Flags: ^fuse.InitFlags(0)})...)
	f.Fuzz(func(t *testing.T, b []byte) {
		fs := memfs.New(memfs.Options{})
		s, err := share.NewSession(share.Config{Backend: fs, Private: true})
		check(t, err)
		err = s.Serve(t.Context(), stream{bytes.NewReader(append(bytes.Clone(begin), b...))})
		if err != nil && !errors.Is(err, fuse.ErrMalformed) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, context.Canceled) {
			t.Errorf("Serve = %v", err)
		}
		if n := s.Stats()["panics"]; n > 0 {
			t.Errorf("%d panics", n)
		}
		empty(t, fs)
	})
}
