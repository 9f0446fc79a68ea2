package fusemount

import (
	"bytes"
	"encoding/binary"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Opcodes of linux/fuse.h that the server knows, and what the relay says.
const (
	opLookup, opForget, opGetattr, opSetattr, opMknod = 1, 2, 3, 4, 8
	opMkdir, opUnlink, opOpen, opRead, opWrite        = 9, 10, 14, 15, 16
	opRelease, opGetxattr, opFlush, opInit            = 18, 22, 25, 26
	opOpendir, opReleasedir, opSetlk, opInterrupt     = 27, 29, 32, 36
	opBatchForget                                     = 42

	hello, optionsCode, notified, injectCode, injected, plainCode = 0x10000, 0x10001, 0x10002, 0x10003, 0x10004, 0x10005
	notifyInvalInode                                              = 2
)

// request is a message from the relay.
type request struct {
	op, pid      uint32
	unique, node uint64
	body         []byte
}

// server is a file system of two files, "f" and "g", of size bytes each, all of them
// 'x'. Any other name is not there until something makes it.
type server struct {
	t     *testing.T
	conn  *Conn
	size  uint64
	hello chan []byte        // bodies of HELLO, NOTIFIED and INJECTED
	acks  chan uint32        //
	jobs  chan []byte        //
	hook  func(request) bool // runs first, and says whether it has answered

	wmu  sync.Mutex
	seen sync.Map // opcode to *atomic.Int64
}

func newServer(t *testing.T, conn *Conn) *server {
	return &server{t: t, conn: conn, size: 1 << 20, hello: make(chan []byte, 4), acks: make(chan uint32, 4096), jobs: make(chan []byte, 64)}
}

func (s *server) count(op uint32) int64 {
	n, _ := s.seen.LoadOrStore(op, &atomic.Int64{})
	return n.(*atomic.Int64).Load()
}

// serve answers until the stream ends.
func (s *server) serve() {
	var head [40]byte
	for {
		if _, err := io.ReadFull(s.conn, head[:]); err != nil {
			return
		}
		le := binary.LittleEndian
		r := request{op: le.Uint32(head[4:]), unique: le.Uint64(head[8:]), node: le.Uint64(head[16:]), pid: le.Uint32(head[32:])}
		r.body = make([]byte, le.Uint32(head[:])-40)
		if _, err := io.ReadFull(s.conn, r.body); err != nil {
			return
		}
		n, _ := s.seen.LoadOrStore(r.op, &atomic.Int64{})
		n.(*atomic.Int64).Add(1)
		switch r.op {
		case hello:
			s.hello <- r.body
		case notified:
			s.acks <- le.Uint32(r.body)
		case injected:
			s.jobs <- r.body
		default:
			if s.hook == nil || !s.hook(r) {
				s.answer(r)
			}
		}
	}
}

func pack(parts ...any) []byte {
	var b bytes.Buffer
	for _, p := range parts {
		binary.Write(&b, binary.LittleEndian, p)
	}
	return b.Bytes()
}

// send sends one message: to a request, or with unique 0.
func (s *server) send(unique uint64, code int32, body ...any) {
	b := pack(body...)
	s.raw(append(pack(uint32(16+len(b)), code, unique), b...))
}

func (s *server) raw(b []byte) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	s.conn.Write(b)
}

// attr is a struct fuse_attr.
func (s *server) attr(node uint64) []byte {
	mode, size := uint32(unix.S_IFREG|0o644), s.size
	if node == 1 {
		mode, size = unix.S_IFDIR|0o755, 0
	}
	return pack(node, size, size/512, [3]uint64{}, [3]uint32{}, mode, uint32(1), [3]uint32{}, uint32(4096), uint32(0))
}

// entry is a struct fuse_entry_out that is good for a minute.
func (s *server) entry(node uint64) []byte {
	return pack(node, uint64(0), uint64(60), uint64(60), uint64(0), s.attr(node))
}

func (s *server) answer(r request) {
	le := binary.LittleEndian
	switch r.op {
	case opInit:
		// major, minor, read-ahead, flags (BIG_WRITES, MAX_PAGES), background, congestion, write, gran, pages
		s.send(r.unique, 0, uint32(7), uint32(31), uint32(1<<20), uint32(1<<5|1<<22), uint16(64), uint16(48), uint32(1<<20), uint32(1), uint16(256), [34]byte{})
	case opLookup:
		switch string(bytes.TrimRight(r.body, "\x00")) {
		case "f":
			s.send(r.unique, 0, s.entry(2))
		case "g":
			s.send(r.unique, 0, s.entry(3))
		default:
			s.send(r.unique, -int32(unix.ENOENT))
		}
	case opGetattr, opSetattr:
		s.send(r.unique, 0, uint64(60), uint64(0), s.attr(r.node))
	case opMknod, opMkdir:
		e := s.entry(9)
		mode := le.Uint32(r.body)
		if r.op == opMkdir {
			mode |= unix.S_IFDIR
		}
		le.PutUint32(e[100:], mode)
		s.send(r.unique, 0, e)
	case opOpen, opOpendir:
		s.send(r.unique, 0, uint64(5), uint64(0))
	case opRead:
		n := min(uint64(le.Uint32(r.body[16:])), s.size-min(s.size, le.Uint64(r.body[8:])))
		s.send(r.unique, 0, bytes.Repeat([]byte("x"), int(n)))
	case opWrite:
		s.send(r.unique, 0, le.Uint32(r.body[16:]), uint32(0))
	case opRelease, opReleasedir, opFlush, opUnlink, opSetlk:
		s.send(r.unique, 0)
	case opForget, opBatchForget, opInterrupt:
	default:
		s.send(r.unique, -int32(unix.ENOSYS))
	}
}

// soon waits for a value that must come.
func soon[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}
