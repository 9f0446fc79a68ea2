package fusemount

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/testneed"
)

func need(t *testing.T) (relay string) {
	t.Helper()
	if os.Getuid() != 0 {
		testneed.Skip(t, "root, to mount")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		testneed.Skip(t, "/dev/fuse: %v", err)
	}
	if os.Getenv(relayVar) == "" {
		testneed.Program(t, "gcc")
	}
	relay, err := BuildRelay(t.Context(), os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return relay
}

func stream(t *testing.T) (*Conn, *os.File) {
	t.Helper()
	relay, conn, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, relay
}

// mounted is a server and its mount.
type mounted struct {
	*server
	*Mount
	dir string
	end chan struct{} // closed when the server has ended
}

// start mounts a server that change may change first.
func start(t *testing.T, change func(*server, *Config)) *mounted {
	t.Helper()
	m, err := tryStart(t, change)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func tryStart(t *testing.T, change func(*server, *Config)) (*mounted, error) {
	t.Helper()
	relay := need(t)
	conn, end := stream(t)
	m := &mounted{server: newServer(t, conn), dir: filepath.Join(t.TempDir(), "a", "m"), end: make(chan struct{})}
	c := Config{Relay: relay, Start: Start, Stream: end, Dir: m.dir}
	if change != nil {
		change(m.server, &c)
	}
	go func() { m.serve(); conn.Close(); close(m.end) }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var err error
	if m.Mount, err = New(ctx, c); err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := m.Unmount(context.Background()); err != nil {
			t.Error(err)
		}
		soon(t, "the end of the stream", m.end)
	})
	return m, nil
}

func (m *mounted) path(name string) string { return filepath.Join(m.dir, name) }

func TestMount(t *testing.T) {
	m := start(t, nil)
	h := soon(t, "HELLO", m.hello)
	if v := binary.LittleEndian.Uint32(h); len(h) != 8 || v != 2 {
		t.Errorf("HELLO = %x", h)
	}
	want := bytes.Repeat([]byte("x"), 1<<20)
	if b, err := os.ReadFile(m.path("f")); err != nil || !bytes.Equal(b, want) {
		t.Errorf("read %d bytes, %v", len(b), err)
	}
	if _, err := os.Stat(m.path("none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("stat of what is not there = %v", err)
	}
	f, err := os.OpenFile(m.path("f"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := f.Write(want); n != len(want) || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := m.Unmount(t.Context()); err != nil {
		t.Error(err)
	}
	if err := m.Err(); err == nil || !strings.Contains(err.Error(), "unmounted") {
		t.Errorf("Err() = %v", err)
	}
	if _, err := os.Lstat(m.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the mount point stays: %v", err)
	}
}

// TestMount_ReadOnly keeps the mount from writing and the relay's injections not.
func TestMount_ReadOnly(t *testing.T) {
	m := start(t, func(_ *server, c *Config) { c.ReadOnly = true })
	if err := os.WriteFile(m.path("f"), nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("WriteFile = %v, want EROFS", err)
	}
	if errno := m.inject(t, 1, 8, unix.S_IFREG|0o600, 0, "new", ""); errno != 0 {
		t.Errorf("injected mknod = %v", errno)
	}
}

func TestMount_File(t *testing.T) {
	m := start(t, func(s *server, c *Config) {
		c.File = true
		s.hook = func(r request) bool {
			if r.op == opGetattr && r.node == 1 {
				s.send(r.unique, 0, uint64(60), uint64(0), s.attr(2))
				return true
			}
			return false
		}
	})
	if b, err := os.ReadFile(m.dir); err != nil || len(b) != 1<<20 {
		t.Errorf("read %d bytes, %v", len(b), err)
	}
	if errno := m.inject(t, 4, 3, 0, 0, "", ""); errno != 0 { // modify
		t.Errorf("injected write to the root = %v", errno)
	}
	if m.count(opWrite) != 1 {
		t.Errorf("%d writes", m.count(opWrite))
	}
}

// inject asks for an injection and returns its errno.
func (m *mounted) inject(t *testing.T, kind uint32, id uint64, mode, rdev uint32, path, second string) unix.Errno {
	t.Helper()
	m.send(0, injectCode, id, kind, mode, rdev, uint16(len(path)), uint16(len(second)), []byte(path), []byte(second))
	b := soon(t, "INJECTED", m.jobs)
	if got := binary.LittleEndian.Uint64(b); got != id || len(b) != 12 {
		t.Fatalf("INJECTED = %x, want id %d", b, id)
	}
	return unix.Errno(binary.LittleEndian.Uint32(b[8:]))
}

func TestInject(t *testing.T) {
	var tid atomic.Uint32
	var byInjector, byOthers atomic.Int64
	m := start(t, func(s *server, _ *Config) {
		s.hook = func(r request) bool {
			if r.op == opMknod || r.op == opUnlink || r.op == opSetattr || r.op == opWrite || r.op == opMkdir {
				if r.pid == tid.Load() {
					byInjector.Add(1)
				} else {
					byOthers.Add(1)
				}
			}
			return false
		}
	})
	tid.Store(binary.LittleEndian.Uint32(soon(t, "HELLO", m.hello)[4:]))
	for i, tc := range []struct {
		name         string
		kind, mode   uint32
		path, second string
		want         unix.Errno
	}{
		{"mknod", 1, unix.S_IFIFO | 0o600, "pipe", "", 0},
		{"mkdir", 2, 0o700, "dir", "", 0},
		{"modify", 4, 0, "f", "", 0},
		{"truncate", 5, 0, "f", "", 0},
		{"chmod", 6, 0o640, "f", "", 0},
		{"unlink", 7, 0, "g", "", 0},
		{"missing", 7, 0, "none", "", unix.ENOENT},
		{"file_as_folder", 1, unix.S_IFREG, "f/new", "", unix.ENOTDIR},
		{"escape", 1, unix.S_IFREG, "../new", "", unix.EXDEV},
		{"dots", 7, 0, "..", "", unix.EINVAL},
		{"no_name", 7, 0, "", "", unix.EINVAL},
		{"absolute", 4, 0, "/etc/passwd", "", unix.EXDEV},
		{"kind", 99, 0, "f", "", unix.EINVAL},
	} {
		if got := m.inject(t, tc.kind, uint64(i+1), tc.mode, 0, tc.path, tc.second); got != tc.want {
			t.Errorf("%s: errno %v, want %v", tc.name, got, tc.want)
		}
	}
	if byInjector.Load() != 6 || byOthers.Load() != 0 {
		t.Errorf("%d calls by the injector's thread, %d by others, want 6 and 0", byInjector.Load(), byOthers.Load())
	}
}

func TestOptions(t *testing.T) {
	m := start(t, nil)
	useFile := func() {
		f, err := os.OpenFile(m.path("f"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Fgetxattr(int(f.Fd()), "security.capability", nil); !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP) {
			t.Errorf("getxattr = %v", err)
		}
		f.Close()
	}
	m.send(0, optionsCode, uint32(3))
	m.inject(t, 7, 1, 0, 0, "none", "") // the relay has taken what came before
	useFile()
	if f, x := m.count(opFlush), m.count(opGetxattr); f != 0 || x != 0 {
		t.Errorf("%d FLUSH and %d GETXATTR reached the host, want none", f, x)
	}
	m.send(0, optionsCode, uint32(0))
	m.inject(t, 7, 2, 0, 0, "none", "")
	useFile()
	if f, x := m.count(opFlush), m.count(opGetxattr); f != 1 || x != 1 {
		t.Errorf("%d FLUSH and %d GETXATTR reached the host, want one of each", f, x)
	}
}

// TestPlain has the relay told that a file has no capabilities: it answers the next
// question of that, for a while, and no other.
func TestPlain(t *testing.T) {
	m := start(t, func(s *server, _ *Config) {
		s.hook = func(r request) bool {
			if r.op == opGetxattr {
				s.send(r.unique, -int32(unix.ENODATA))
			}
			return r.op == opGetxattr
		}
	})
	const node, other = 2, 3 // of f and g
	id := uint64(0)
	say := func(nodes ...uint64) {
		for _, n := range nodes {
			m.send(0, plainCode, n)
		}
		id++
		m.inject(t, 7, id, 0, 0, "none", "") // the relay has taken what came before
	}
	asked := func(what string, do func() error, want int64) {
		t.Helper()
		before := m.count(opGetxattr)
		if err := do(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if n := m.count(opGetxattr) - before; n != want {
			t.Errorf("%s: %d GETXATTR reached the host, want %d", what, n, want)
		}
	}
	probe := func() error { // the kernel asks for the size first, whoever asks for what
		if _, err := unix.Getxattr(m.path("f"), "security.capability", nil); !errors.Is(err, unix.ENODATA) {
			return fmt.Errorf("getxattr: %w", err)
		}
		return nil
	}
	write := func() error {
		f, err := os.OpenFile(m.path("f"), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.Write([]byte("x"))
		return errors.Join(err, f.Close())
	}
	say(node, node+512)
	asked("its place was taken", probe, 1)
	say(node, other)
	asked("a first write", write, 0)
	asked("after it", probe, 1)
	say(node)
	asked("told again", probe, 0)
	asked("again", probe, 1)
	say(node, 0)
	asked("taken back", probe, 1)
	say(node)
	user := func() error {
		if _, err := unix.Getxattr(m.path("f"), "user.capability", nil); err == nil {
			return errors.New("there is one")
		}
		return nil
	}
	asked("another attribute", user, 1)
	asked("after that", probe, 0)
	say(node)
	time.Sleep(1100 * time.Millisecond) // the relay's clock is none of ours
	asked("too late", probe, 1)
}

// TestNotify_Blocked has notifications wait in the kernel for a read that is answered
// last: replies go on meanwhile, and all are acknowledged in the end.
func TestNotify_Blocked(t *testing.T) {
	held := make(chan request, 64)
	var hold atomic.Bool
	m := start(t, func(s *server, _ *Config) {
		s.hook = func(r request) bool {
			if r.op == opRead && r.node == 3 && hold.Load() {
				held <- r
				return true
			}
			return false
		}
	})
	hold.Store(true)
	var wg sync.WaitGroup
	wg.Go(func() { os.ReadFile(m.path("g")) })
	first := soon(t, "a read", held)
	for range 64 {
		m.send(0, notifyInvalInode, uint64(3), int64(0), int64(-1))
	}
	if b, err := os.ReadFile(m.path("f")); err != nil || len(b) != 1<<20 {
		t.Errorf("read beside a blocked notification: %d bytes, %v", len(b), err)
	}
	select {
	case <-m.acks:
		t.Error("a notification did not wait for the read")
	default:
	}
	hold.Store(false)
	m.answer(first)
	for {
		select {
		case r := <-held:
			m.answer(r)
			continue
		default:
		}
		break
	}
	wg.Wait()
	for range 64 {
		if errno := soon(t, "NOTIFIED", m.acks); errno != 0 {
			t.Errorf("NOTIFIED %v", unix.Errno(errno))
		}
	}
}

// TestNotify_Errno tells what the kernel says.
func TestNotify_Errno(t *testing.T) {
	m := start(t, nil)
	m.send(0, notifyInvalInode, uint64(12345), int64(0), int64(-1))
	if errno := soon(t, "NOTIFIED", m.acks); unix.Errno(errno) != unix.ENOENT {
		t.Errorf("of a node that is not known = %v, want ENOENT", unix.Errno(errno))
	}
	m.send(0, 99)
	if errno := soon(t, "NOTIFIED", m.acks); unix.Errno(errno) != unix.EINVAL {
		t.Errorf("of an unknown notification = %v, want EINVAL", unix.Errno(errno))
	}
}

// TestForged ends the relay for what is out of form, and the mount with it.
func TestForged(t *testing.T) {
	paths := func(n, second uint16, b string) []byte {
		return append(pack(uint64(1), uint32(7), uint32(0), uint32(0), n, second), b...)
	}
	message := func(code int32, b []byte) []byte { return append(pack(uint32(16+len(b)), code, uint64(0)), b...) }
	for name, b := range map[string][]byte{
		"short":           pack(uint32(15), int32(0), uint64(7)),
		"zero":            make([]byte, 16),
		"huge":            pack(uint32(1<<30), int32(0), uint64(7)),
		"options_short":   message(optionsCode, nil),
		"options_long":    message(optionsCode, make([]byte, 8)),
		"plain_short":     message(plainCode, make([]byte, 7)),
		"plain_long":      message(plainCode, make([]byte, 9)),
		"inject_short":    message(injectCode, make([]byte, 23)),
		"inject_lengths":  message(injectCode, paths(2, 0, "f")),
		"inject_too_long": message(injectCode, paths(4096, 0, strings.Repeat("f", 4096))),
		"inject_nul":      message(injectCode, paths(3, 0, "f\x00g")),
		"notify_long":     message(notifyInvalInode, make([]byte, 600)),
		"code_zero":       message(0, nil),
		"code_negative":   message(-5, nil),
		"code_of_relay":   message(hello, make([]byte, 8)),
		"code_unknown":    message(0x20000, nil),
	} {
		t.Run(name, func(t *testing.T) {
			m := start(t, nil)
			m.raw(b)
			soon(t, "the relay's end", m.Done())
			if err := m.Err(); err == nil || !strings.Contains(err.Error(), "out of form") {
				t.Errorf("Err() = %v", err)
			}
			if _, err := os.Stat(m.path("f")); !errors.Is(err, unix.ENOTCONN) && !errors.Is(err, unix.ECONNABORTED) {
				t.Errorf("stat = %v, want ENOTCONN", err)
			}
		})
	}
}

// TestBadAnswer gives answers that the kernel does not take: who asked gets EIO, and the
// share goes on.
func TestBadAnswer(t *testing.T) {
	m := start(t, func(s *server, _ *Config) {
		s.hook = func(r request) bool {
			switch {
			case r.op == opLookup && string(r.body) == "short\x00":
				s.send(r.unique, 0, uint64(2))
			case r.op == opLookup && string(r.body) == "positive\x00":
				s.send(r.unique, 4)
			case r.op == opLookup && string(r.body) == "twice\x00":
				s.send(r.unique, -int32(unix.ENOENT))
				s.send(r.unique, -int32(unix.ENOENT))
				s.send(r.unique+1<<40, -int32(unix.ENOENT))
			default:
				return false
			}
			return true
		}
	})
	for name, want := range map[string]error{"short": unix.EIO, "positive": unix.EIO, "twice": unix.ENOENT} {
		if _, err := os.Stat(m.path(name)); !errors.Is(err, want) {
			t.Errorf("stat %s = %v, want %v", name, err, want)
		}
	}
	if _, err := os.Stat(m.path("f")); err != nil {
		t.Error(err)
	}
}

func TestInit_Refused(t *testing.T) {
	_, err := tryStart(t, func(s *server, _ *Config) {
		s.hook = func(r request) bool {
			if r.op == opInit {
				s.send(r.unique, -int32(unix.EPROTO))
			}
			return r.op == opInit
		}
	})
	if err == nil || !strings.Contains(err.Error(), "out of form") {
		t.Errorf("New = %v", err)
	}
}

func TestInit_Silent(t *testing.T) {
	conn, end := stream(t)
	s := newServer(t, conn)
	dir := filepath.Join(t.TempDir(), "m")
	ctx, cancel := context.WithCancel(t.Context())
	s.hook = func(r request) bool { cancel(); return true }
	go s.serve()
	_, err := New(ctx, Config{Relay: need(t), Start: Start, Stream: end, Dir: dir})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("New = %v, want Canceled", err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the mount point stays: %v", err)
	}
}

// TestEnd ends a share under load in each way, with reads and notifications that wait in
// the kernel and an injection under way.
func TestEnd(t *testing.T) {
	for name, end := range map[string]struct {
		do   func(*mounted)
		want string
	}{
		"stream_ends":  {func(m *mounted) { m.conn.Close() }, "stream to the server ended"},
		"relay_killed": {func(m *mounted) { m.Relay().Signal(unix.SIGKILL) }, "killed by signal 9"},
	} {
		t.Run(name, func(t *testing.T) {
			var hold atomic.Bool
			held := make(chan struct{}, 1024)
			m := start(t, func(s *server, _ *Config) {
				s.hook = func(r request) bool {
					if hold.Load() && (r.op == opRead && r.node == 3 || r.op == opMknod) {
						held <- struct{}{}
						return true
					}
					return false
				}
			})
			hold.Store(true)
			var wg sync.WaitGroup
			stop := make(chan struct{})
			for range 4 {
				wg.Go(func() {
					for {
						if _, err := os.ReadFile(m.path("f")); err != nil {
							return
						}
						select {
						case <-stop:
							return
						default:
						}
					}
				})
			}
			wg.Go(func() {
				if _, err := os.ReadFile(m.path("g")); err == nil {
					t.Error("a read that was not answered succeeded")
				}
			})
			soon(t, "a read", held)
			m.send(0, notifyInvalInode, uint64(3), int64(0), int64(-1))
			m.send(0, injectCode, uint64(1), uint32(1), uint32(unix.S_IFREG), uint32(0), uint16(3), uint16(0), []byte("new"))
			soon(t, "the injection", held)
			end.do(m)
			soon(t, "the relay's end", m.Done())
			if err := m.Err(); err == nil || !strings.Contains(err.Error(), end.want) {
				t.Errorf("Err() = %v, want %q", err, end.want)
			}
			close(stop)
			wg.Wait()
			if _, err := os.Stat(m.path("f")); !errors.Is(err, unix.ENOTCONN) && !errors.Is(err, unix.ECONNABORTED) {
				t.Errorf("stat = %v, want ENOTCONN", err)
			}
		})
	}
}

// TestUnmount_Busy cuts off what still uses the mount.
func TestUnmount_Busy(t *testing.T) {
	m := start(t, nil)
	f, err := os.Open(m.path("f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := m.Unmount(ctx); err != nil {
		t.Error(err)
	}
	if _, err := f.Stat(); err == nil {
		t.Log("attributes were cached")
	}
	if err := unix.Fsync(int(f.Fd())); err == nil {
		t.Error("fsync after the share's end succeeded")
	}
}
