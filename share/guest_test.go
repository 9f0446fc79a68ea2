package share_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// injectorTID is the relay's injector thread in these tests.
const injectorTID = 77

// guest is a guest's kernel and relay, as a script plays them.
type guest struct {
	t    *testing.T
	s    *share.Session
	conn net.Conn
	end  chan error // of Serve
	stop context.CancelFunc

	write sync.Mutex
	wg    sync.WaitGroup

	mu      sync.Mutex // guards the rest
	unique  uint64
	waiting map[uint64]chan []byte
	notes   []string // notifications, in order
	hold    bool     // answers no notification
	held    int
	inject  func(fuse.Inject) posix.Errno
	options uint32
	plain   []uint64 // nodes of which the relay was told that they have no capabilities
}

type appender interface{ Append([]byte) []byte }

// serve starts a session and its guest, without INIT.
func serve(t *testing.T, c share.Config) *guest {
	t.Helper()
	c.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	if c.Locker == nil {
		c.Private = true
	}
	s, err := share.NewSession(c)
	if err != nil {
		t.Fatal(err)
	}
	return serveSession(t, s)
}

// serveSession starts a guest of a session.
func serveSession(t *testing.T, s *share.Session) *guest {
	t.Helper()
	host, conn := net.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	g := &guest{t: t, s: s, conn: conn, end: make(chan error, 1), stop: stop, waiting: make(map[uint64]chan []byte)}
	g.wg.Go(func() { g.end <- s.Serve(ctx, host) })
	g.wg.Go(g.read)
	return g
}

// mount starts a session and its guest, to after INIT.
func mount(t *testing.T, c share.Config) *guest {
	t.Helper()
	g := serve(t, c)
	g.send(fuse.AppendRequest(nil, fuse.InHeader{Opcode: fuse.OpHello}, fuse.Hello{Version: fuse.ControlVersion, TID: injectorTID}))
	if _, err := g.init(^fuse.InitFlags(0)); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *guest) init(flags fuse.InitFlags) (out fuse.InitOut, err error) {
	d, err := g.do(fuse.OpInit, 0, fuse.InitIn{Major: 7, Minor: 38, MaxReadahead: 1 << 20, Flags: flags})
	if err == nil {
		out.Decode(&d)
		err = d.End()
	}
	return out, err
}

// unmount ends the stream and checks how the session ended.
func (g *guest) unmount() {
	g.t.Helper()
	g.conn.Close()
	if err := <-g.end; err != nil {
		g.t.Errorf("Serve = %v", err)
	}
	g.wg.Wait()
	g.stop()
	if n := g.s.Stats()["panics"]; n > 0 {
		g.t.Errorf("%d panics", n)
	}
}

func (g *guest) send(b []byte) {
	g.write.Lock()
	defer g.write.Unlock()
	_, _ = g.conn.Write(b) // a session that has ended is seen by its answers
}

// read takes what the server sends, as the relay would.
func (g *guest) read() {
	frames := fuse.NewReader(g.conn, fuse.OutHeaderSize, fuse.MaxFrame)
	for {
		b, err := frames.Next(func(n int) []byte { return make([]byte, n) })
		if err != nil {
			g.mu.Lock()
			for _, c := range g.waiting {
				close(c)
			}
			g.waiting = nil
			g.mu.Unlock()
			return
		}
		d := fuse.NewDecoder(b)
		var h fuse.OutHeader
		h.Decode(&d)
		if h.Unique == 0 {
			g.notified(fuse.NotifyCode(h.Error), d)
			continue
		}
		g.mu.Lock()
		c := g.waiting[h.Unique]
		delete(g.waiting, h.Unique)
		g.mu.Unlock()
		if c == nil {
			g.t.Errorf("an answer to %d, which was not asked", h.Unique)
			continue
		}
		c <- b
	}
}

func (g *guest) notified(code fuse.NotifyCode, d fuse.Decoder) {
	switch code {
	case fuse.CodeOptions:
		var m fuse.Options
		m.Decode(&d)
		g.mu.Lock()
		g.options = m.Flags
		g.mu.Unlock()
		return
	case fuse.CodePlain:
		var m fuse.Plain
		m.Decode(&d)
		g.mu.Lock()
		g.plain = append(g.plain, m.Node)
		g.mu.Unlock()
		return
	case fuse.CodeInject:
		var m fuse.Inject
		m.Decode(&d)
		g.mu.Lock()
		do := g.inject
		g.mu.Unlock()
		g.wg.Go(func() {
			var e posix.Errno
			if do != nil {
				e = do(m)
			}
			g.send(fuse.AppendRequest(nil, fuse.InHeader{Opcode: fuse.OpInjected}, fuse.Injected{ID: m.ID, Errno: uint32(e)}))
		})
		return
	}
	note := "?"
	switch code {
	case fuse.NotifyInvalInode:
		var m fuse.NotifyInvalInodeOut
		m.Decode(&d)
		note = sprintf("inode %d %d %d", m.Ino, int64(m.Off), int64(m.Len))
	case fuse.NotifyInvalEntry:
		var m fuse.NotifyInvalEntryOut
		m.Decode(&d)
		note = sprintf("entry %d %s %d", m.Parent, m.Name, m.Flags)
	}
	g.mu.Lock()
	g.notes = append(g.notes, note)
	held := g.hold
	if held {
		g.held++
	}
	g.mu.Unlock()
	if !held {
		g.wg.Go(func() { g.ack(1) })
	}
}

// ack answers notifications.
func (g *guest) ack(n int) {
	for range n {
		g.send(fuse.AppendRequest(nil, fuse.InHeader{Opcode: fuse.OpNotified}, fuse.Notified{}))
	}
}

// seen returns the notifications so far, and forgets them.
func (g *guest) seen() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := strings.Join(g.notes, "; ")
	g.notes = nil
	return s
}

// errEnded is a request's answer when the session has ended.
var errEnded = errors.New("the session has ended")

// start sends a request and returns where its answer comes, and its number.
func (g *guest) start(h fuse.InHeader, body appender, tail ...[]byte) (chan []byte, uint64) {
	c := make(chan []byte, 1)
	g.mu.Lock()
	g.unique += 2
	h.Unique = g.unique
	if g.waiting == nil {
		close(c)
	} else {
		g.waiting[h.Unique] = c
	}
	g.mu.Unlock()
	g.send(fuse.AppendRequest(nil, h, body, tail...))
	return c, h.Unique
}

func (g *guest) wait(c chan []byte) (fuse.Decoder, error) {
	b, ok := <-c
	if !ok {
		return fuse.Decoder{}, errEnded
	}
	d := fuse.NewDecoder(b)
	var h fuse.OutHeader
	h.Decode(&d)
	if h.Error != 0 {
		return d, posix.Errno(-h.Error)
	}
	return d, nil
}

func (g *guest) do(op fuse.Opcode, node uint64, body appender, tail ...[]byte) (fuse.Decoder, error) {
	return g.as(0, op, node, body, tail...)
}

// as sends a request of a thread.
func (g *guest) as(tid uint32, op fuse.Opcode, node uint64, body appender, tail ...[]byte) (fuse.Decoder, error) {
	c, _ := g.start(fuse.InHeader{Opcode: op, NodeID: node, UID: 1000, GID: 1000, PID: tid}, body, tail...)
	return g.wait(c)
}

func names(list ...string) []byte {
	var b []byte
	for _, n := range list {
		b = fuse.AppendName(b, n)
	}
	return b
}

func (g *guest) entry(d fuse.Decoder, err error) (fuse.EntryOut, error) {
	var e fuse.EntryOut
	if err == nil {
		e.Decode(&d)
		err = d.End()
	}
	return e, err
}

func (g *guest) lookup(dir uint64, name string) (fuse.EntryOut, error) {
	return g.entry(g.do(fuse.OpLookup, dir, nil, names(name)))
}

func (g *guest) mkdir(dir uint64, name string) fuse.EntryOut {
	g.t.Helper()
	e, err := g.entry(g.do(fuse.OpMkdir, dir, fuse.MkdirIn{Mode: 0o755}, names(name)))
	if err != nil {
		g.t.Fatalf("mkdir %s: %v", name, err)
	}
	return e
}

func (g *guest) create(dir uint64, name string) (fuse.EntryOut, fuse.OpenOut) {
	g.t.Helper()
	d, err := g.do(fuse.OpCreate, dir, fuse.CreateIn{Flags: posix.O_RDWR | posix.O_CREAT, Mode: posix.S_IFREG | 0o644}, names(name))
	if err != nil {
		g.t.Fatalf("create %s: %v", name, err)
	}
	var e fuse.EntryOut
	var o fuse.OpenOut
	e.Decode(&d)
	o.Decode(&d)
	return e, o
}

func (g *guest) open(node uint64, flags uint32) (fuse.OpenOut, error) {
	d, err := g.do(fuse.OpOpen, node, fuse.OpenIn{Flags: flags})
	var o fuse.OpenOut
	if err == nil {
		o.Decode(&d)
	}
	return o, err
}

func (g *guest) pwrite(node, fh uint64, data string, off uint64) error {
	_, err := g.do(fuse.OpWrite, node, fuse.WriteIn{FH: fh, Offset: off, Size: uint32(len(data))}, []byte(data))
	return err
}

func (g *guest) pread(node, fh uint64, n uint32, off uint64) (string, error) {
	d, err := g.do(fuse.OpRead, node, fuse.ReadIn{FH: fh, Offset: off, Size: n})
	return string(d.Rest()), err
}

func (g *guest) release(node, fh uint64) {
	g.t.Helper()
	if _, err := g.do(fuse.OpRelease, node, fuse.ReleaseIn{FH: fh}); err != nil {
		g.t.Errorf("release: %v", err)
	}
}

func (g *guest) forget(node, n uint64) {
	g.send(fuse.AppendRequest(nil, fuse.InHeader{Opcode: fuse.OpForget, NodeID: node, Unique: 1}, fuse.ForgetIn{Nlookup: n}))
}

func seconds(sec uint64, nsec uint32) time.Duration {
	return time.Duration(sec)*time.Second + time.Duration(nsec)
}
