package client

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/card"
	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/lock"
	"github.com/porthole-run/porthole/share/posix"
)

// A Kernel has one share mounted.
type Kernel struct {
	conn  net.Conn
	flags fuse.InitFlags // agreed; immutable after Mount
	local share.Locker   // of locks that the server leaves to the kernel
	ids   atomic.Uint64  // of requests, lock owners and processes
	wmu   sync.Mutex     // a frame is written whole

	mu      sync.Mutex
	waiting map[uint64]chan reply // guarded by mu; nil when the connection has ended
	inodes  map[uint64]*inode     // guarded by mu
	procs   map[*proc]struct{}    // guarded by mu
	root    *inode

	end  context.CancelFunc
	work sync.WaitGroup // reader, server, answers to notifications
	err  error          // of Serve; read after work
}

var _ card.System = (*Kernel)(nil)

type reply struct {
	errno posix.Errno
	body  []byte
}

// injectorID is the thread id of an injector that there is not.
const injectorID = 1

// Mount begins to use a session that has not been served.
func Mount(ctx context.Context, s *share.Session) (*Kernel, error) {
	ours, theirs := net.Pipe()
	ctx, end := context.WithCancel(ctx)
	k := &Kernel{conn: ours, end: end, local: lock.New(lock.Limits{}).Session("kernel"),
		waiting: map[uint64]chan reply{}, inodes: map[uint64]*inode{}, procs: map[*proc]struct{}{}}
	k.root = &inode{id: fuse.RootID, kind: posix.S_IFDIR, refs: 1}
	k.inodes[fuse.RootID] = k.root
	k.work.Go(func() { k.err = s.Serve(ctx, theirs) })
	k.work.Go(k.read)
	if err := k.init(); err != nil {
		return nil, errors.Join(fmt.Errorf("mount share: %w", err), k.Close())
	}
	return k, nil
}

// Lacks implements card.System.
func (k *Kernel) Lacks(n card.Need) string {
	switch n {
	case card.NeedMmap, card.NeedDirect:
		return "there is no page cache here"
	case card.NeedInotify:
		return "there is no kernel here that raises events"
	case card.NeedSpecial:
		return "what an open FIFO or device does is the kernel's own"
	}
	return ""
}

// Close ends processes and connection and returns what the session ended with.
func (k *Kernel) Close() error {
	k.mu.Lock()
	procs := k.procs
	k.procs = nil
	k.mu.Unlock()
	for p := range procs {
		p.Exit()
	}
	err := k.conn.Close()
	k.end()
	k.work.Wait()
	return errors.Join(err, k.err, k.local.Close())
}

func (k *Kernel) init() error {
	b := fuse.AppendRequest(nil, fuse.InHeader{Opcode: fuse.OpHello}, fuse.Hello{Version: fuse.ControlVersion, TID: injectorID})
	if err := k.write(b); err != nil {
		return err
	}
	want := fuse.AsyncRead | fuse.PosixLocks | fuse.FlockLocks | fuse.AtomicOTrunc | fuse.BigWrites | fuse.AutoInvalData |
		fuse.ExplicitInvalData | fuse.DoReaddirplus | fuse.ReaddirplusAuto | fuse.AsyncDIO | fuse.ParallelDirops | fuse.AbortError |
		fuse.MaxPagesSet | fuse.CacheSymlinks | fuse.HandleKillprivV2 | fuse.InitExt | fuse.HasExpireOnly |
		fuse.NoOpenSupport | fuse.NoOpendirSupport | fuse.DontMask | fuse.WritebackCache
	d, err := k.call(header{op: fuse.OpInit}, fuse.InitIn{Major: fuse.Major, Minor: fuse.Minor, MaxReadahead: 1 << 20, Flags: want})
	if err != nil {
		return err
	}
	var out fuse.InitOut
	out.Decode(&d)
	if out.Major != fuse.Major || out.MaxWrite < 4096 || out.Flags&(fuse.DontMask|fuse.WritebackCache) != 0 {
		return fmt.Errorf("answer to INIT: %+v: %w", out, posix.EIO)
	}
	k.flags = out.Flags
	return d.Err()
}

// header is what a request's header has that differs.
type header struct {
	op   fuse.Opcode
	node uint64
	who  *proc // nil: the kernel itself
}

type appender interface{ Append([]byte) []byte }

// bare is the body of a request that is only names or bytes.
type bare struct{}

func (bare) Append(b []byte) []byte { return b }

// named is a name as a request's tail has it.
func named(name string) []byte { return fuse.AppendName(nil, name) }

// call sends a request and waits for its reply.
func (k *Kernel) call(h header, body appender, tail ...[]byte) (fuse.Decoder, error) {
	id := 2 * k.ids.Add(1) // the kernel's are even: an odd one is an INTERRUPT's
	ch := make(chan reply, 1)
	k.mu.Lock()
	if k.waiting == nil {
		k.mu.Unlock()
		return fuse.Decoder{}, posix.ENOTCONN
	}
	k.waiting[id] = ch
	k.mu.Unlock()
	if h.op == fuse.OpSetlkw {
		h.who.waits.Store(id)
		defer h.who.waits.Store(0)
	}
	if err := k.send(id, h, body, tail...); err != nil {
		return fuse.Decoder{}, err
	}
	r, ok := <-ch
	if !ok {
		return fuse.Decoder{}, posix.ENOTCONN
	}
	if r.errno != 0 {
		return fuse.Decoder{}, r.errno
	}
	return fuse.NewDecoder(r.body), nil
}

// send sends a request that is not waited for here.
func (k *Kernel) send(id uint64, h header, body appender, tail ...[]byte) error {
	in := fuse.InHeader{Opcode: h.op, Unique: id, NodeID: h.node}
	if h.who != nil {
		in.UID, in.GID, in.PID = h.who.cred.UID, h.who.cred.GID, h.who.pid
	}
	return k.write(fuse.AppendRequest(nil, in, body, tail...))
}

func (k *Kernel) write(b []byte) error {
	k.wmu.Lock()
	defer k.wmu.Unlock()
	if _, err := k.conn.Write(b); err != nil {
		return posix.ENOTCONN
	}
	return nil
}

// read hands replies to those who wait, until the connection ends.
func (k *Kernel) read() {
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		for _, ch := range k.waiting {
			close(ch)
		}
		k.waiting = nil
	}()
	r := bufio.NewReaderSize(k.conn, 1<<16)
	for {
		var head [fuse.OutHeaderSize]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		size := binary.LittleEndian.Uint32(head[:])
		code := int32(binary.LittleEndian.Uint32(head[4:]))
		id := binary.LittleEndian.Uint64(head[8:])
		if size < fuse.OutHeaderSize || size > fuse.MaxFrame {
			_ = k.conn.Close()
			return
		}
		body := make([]byte, size-fuse.OutHeaderSize)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		if id == 0 {
			k.notified(fuse.NotifyCode(code), body)
			continue
		}
		k.mu.Lock()
		ch := k.waiting[id]
		delete(k.waiting, id)
		k.mu.Unlock()
		if ch != nil {
			ch <- reply{posix.Errno(-code), body}
		}
	}
}

// notified answers what the server tells the kernel or the relay. There is no cache to
// drop, and nobody to see an injected change.
func (k *Kernel) notified(code fuse.NotifyCode, body []byte) {
	var op fuse.Opcode
	var answer appender
	switch code {
	case fuse.CodeOptions, fuse.CodePlain:
		return
	case fuse.CodeInject:
		var in fuse.Inject
		d := fuse.NewDecoder(body)
		in.Decode(&d)
		op, answer = fuse.OpInjected, fuse.Injected{ID: in.ID, Errno: uint32(posix.ENOSYS)}
	default:
		op, answer = fuse.OpNotified, fuse.Notified{}
	}
	// The reader must not wait for the server to read.
	k.work.Go(func() { _ = k.write(fuse.AppendRequest(nil, fuse.InHeader{Opcode: op}, answer)) })
}
