package share

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// A request is one message of the guest's kernel while it is worked on, by one goroutine.
type request struct {
	fuse.InHeader
	d     fuse.Decoder
	in    *buffer
	out   *buffer       // begins with room for a header; what handlers append to
	node  *node         // of NodeID, referred to until the request is done
	since uint64        // invalidations begun before it
	quiet bool          // has no reply
	first func() []byte // makes a message to go in front of the reply; or nil
	later func()        // is waited for before the reply, apart from the pool; or nil
}

// reply returns the request's reply buffer with room for n bytes more than a header.
func (r *request) reply(n int) {
	if r.out == nil {
		r.out = getBuffer(fuse.OutHeaderSize + n)
		r.out.b = r.out.b[:fuse.OutHeaderSize]
	}
}

// append adds a message to the reply.
func (r *request) append(m interface{ Append([]byte) []byte }) {
	r.reply(256)
	r.out.b = m.Append(r.out.b)
}

func (r *request) owner() Owner { return Owner{UID: r.UID, GID: r.GID} }

// What an operation needs.
const (
	changes = 1 << iota // EROFS in a read-only share
	nodeless
	locks // ENOSYS means that the kernel keeps them itself
)

type operation struct {
	do    func(s *Session, ctx context.Context, r *request) error
	needs int
}

var operations = [fuse.OpCount]operation{
	fuse.OpLookup:        {do: (*Session).lookup},
	fuse.OpGetattr:       {do: (*Session).getattr},
	fuse.OpSetattr:       {(*Session).setattr, changes},
	fuse.OpReadlink:      {do: (*Session).readlink},
	fuse.OpSymlink:       {(*Session).symlink, changes},
	fuse.OpMknod:         {(*Session).mknod, changes},
	fuse.OpMkdir:         {(*Session).mkdir, changes},
	fuse.OpUnlink:        {(*Session).unlink, changes},
	fuse.OpRmdir:         {(*Session).rmdir, changes},
	fuse.OpRename:        {(*Session).rename, changes},
	fuse.OpRename2:       {(*Session).rename2, changes},
	fuse.OpLink:          {(*Session).link, changes},
	fuse.OpOpen:          {do: (*Session).open},
	fuse.OpRead:          {do: (*Session).readFile},
	fuse.OpWrite:         {(*Session).write, changes},
	fuse.OpStatfs:        {do: (*Session).statfs},
	fuse.OpRelease:       {(*Session).release, nodeless},
	fuse.OpFsync:         {do: (*Session).fsync},
	fuse.OpSetxattr:      {(*Session).setxattr, changes},
	fuse.OpGetxattr:      {do: (*Session).getxattr},
	fuse.OpListxattr:     {do: (*Session).listxattr},
	fuse.OpRemovexattr:   {(*Session).removexattr, changes},
	fuse.OpFlush:         {do: (*Session).flush},
	fuse.OpOpendir:       {do: (*Session).opendir},
	fuse.OpReaddir:       {do: (*Session).readdir},
	fuse.OpReaddirplus:   {do: (*Session).readdirplus},
	fuse.OpReleasedir:    {(*Session).release, nodeless},
	fuse.OpFsyncdir:      {do: (*Session).fsync},
	fuse.OpGetlk:         {(*Session).getlk, locks},
	fuse.OpSetlk:         {(*Session).setlk, locks},
	fuse.OpSetlkw:        {(*Session).setlk, locks},
	fuse.OpCreate:        {(*Session).create, changes},
	fuse.OpTmpfile:       {(*Session).tmpfile, changes},
	fuse.OpFallocate:     {(*Session).fallocate, changes},
	fuse.OpLseek:         {do: (*Session).lseek},
	fuse.OpCopyFileRange: {(*Session).copyFileRange, changes},
	fuse.OpSyncfs:        {do: (*Session).syncfs},
	fuse.OpIoctl:         {do: (*Session).ioctl},
	fuse.OpForget:        {(*Session).forget, nodeless},
	fuse.OpBatchForget:   {(*Session).batchForget, nodeless},
}

// route sends a message where it is handled. It is called in the order that they came;
// an error ends the session.
func (s *Session) route(ctx context.Context, r *request) error {
	if r.Opcode < fuse.OpCount {
		s.counts[r.Opcode].Add(1)
	}
	switch r.Opcode {
	case fuse.OpHello, fuse.OpNotified, fuse.OpInjected:
		defer r.in.put()
		return s.control(r)
	case fuse.OpInit:
		defer r.in.put()
		return s.initialize(ctx, r)
	case fuse.OpInterrupt:
		defer r.in.put()
		var m fuse.InterruptIn
		m.Decode(&r.d)
		s.waits.interrupt(m.Unique)
		return r.d.End()
	case fuse.OpDestroy, fuse.OpNotifyReply:
		r.in.put()
		if r.Opcode == fuse.OpDestroy {
			return s.answer(r, nil)
		}
		return nil
	}
	if !s.opened.Load() || r.Unique == 0 && r.Opcode != fuse.OpForget && r.Opcode != fuse.OpBatchForget {
		r.in.put()
		return fmt.Errorf("%w: %v before INIT or without a number", fuse.ErrMalformed, r.Opcode)
	}
	r.since = s.cache.now()
	switch r.Opcode {
	case fuse.OpForget, fuse.OpBatchForget: // cheap, and frees what requests wait for
		return s.run(ctx, r)
	case fuse.OpSetlkw: // may wait long: must not take the place of who would wake it
		return s.waitLock(ctx, r)
	}
	return s.queue.add(ctx, r, func(r *request) {
		if err := s.run(ctx, r); err != nil {
			s.out.end(fmt.Errorf("answer %v: %w", r.Opcode, err))
		}
	})
}

// run does a request and answers it. Its error ends the session.
func (s *Session) run(ctx context.Context, r *request) error {
	err := s.perform(ctx, r)
	if r.node != nil {
		s.nodes.unref(r.node)
	}
	r.in.put()
	if r.later != nil {
		s.queue.wg.Go(func() {
			r.later()
			if err := s.answer(r, err); err != nil {
				s.out.end(fmt.Errorf("answer %v: %w", r.Opcode, err))
			}
		})
		return nil
	}
	return s.answer(r, err)
}

func (s *Session) perform(ctx context.Context, r *request) (err error) {
	defer func() {
		if v := recover(); v != nil {
			s.panics.Add(1)
			s.log.Error("handle a request", "opcode", r.Opcode, "panic", v, "stack", string(debug.Stack()))
			err = posix.EIO
		}
	}()
	if r.Opcode >= fuse.OpCount || operations[r.Opcode].do == nil {
		return posix.ENOSYS
	}
	op := &operations[r.Opcode]
	if s.inject.mine(s, r) {
		if done, err := s.inject.serve(s, r); done {
			return err
		}
	}
	if op.needs&changes != 0 && s.readOnly {
		return posix.EROFS
	}
	if err := s.mapCaller(r); err != nil {
		return err
	}
	if op.needs&nodeless == 0 {
		if r.node = s.nodes.get(r.NodeID); r.node == nil {
			return posix.ESTALE
		}
	}
	err = op.do(s, ctx, r)
	if errors.Is(err, posix.ENOSYS) && (s.locker != nil || op.needs&locks == 0) {
		return posix.EOPNOTSUPP // the kernel would never ask again, of any file
	}
	return err
}

// answer writes a request's reply, in one piece. A message that was malformed is told
// so, and ends the session.
func (s *Session) answer(r *request, err error) error {
	malformed := err == fuse.ErrMalformed
	if r.quiet {
		r.out.put()
		if malformed {
			return err
		}
		return nil
	}
	if err != nil && r.out != nil {
		r.out.b = r.out.b[:fuse.OutHeaderSize]
	}
	r.reply(0)
	h := fuse.OutHeader{Len: uint32(len(r.out.b)), Error: -int32(posix.FromError(err)), Unique: r.Unique}
	h.Append(r.out.b[:0])
	werr := s.out.writeAfter(r.first, r.out.b)
	r.out.put()
	if malformed {
		return err
	}
	return werr
}

// queue holds requests for a bounded pool of goroutines, which grows as it is needed.
type queue struct {
	limits  Limits
	mu      sync.Mutex // guards the rest
	room    *sync.Cond
	waiting []job
	bytes   int
	idle    int
	workers int
	wake    *sync.Cond
	closed  bool
	wg      sync.WaitGroup
}

type job struct {
	r  *request
	do func(*request)
}

func (q *queue) init(l Limits) {
	q.limits = l
	q.room, q.wake = sync.NewCond(&q.mu), sync.NewCond(&q.mu)
}

// cost is what a request may take of memory: itself and its reply.
func (r *request) cost() int {
	n := cap(r.in.b)
	if r.Opcode == fuse.OpRead || r.Opcode == fuse.OpReaddir || r.Opcode == fuse.OpReaddirplus {
		var m fuse.ReadIn
		d := r.d
		m.Decode(&d)
		n += int(min(m.Size, fuse.MaxWrite))
	}
	return n
}

// add queues a request, and waits while there are too many. It must be called by one
// goroutine.
func (q *queue) add(ctx context.Context, r *request, do func(*request)) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	stop := func() bool { return true }
	if len(q.waiting) >= q.limits.Queued || q.bytes > q.limits.Bytes {
		stop = context.AfterFunc(ctx, func() { q.mu.Lock(); q.room.Broadcast(); q.mu.Unlock() })
	}
	for (len(q.waiting) >= q.limits.Queued || q.bytes > q.limits.Bytes) && ctx.Err() == nil {
		q.room.Wait()
	}
	stop()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	q.bytes += r.cost()
	q.waiting = append(q.waiting, job{r, do})
	if q.idle > 0 {
		q.wake.Signal()
	} else if q.workers < q.limits.Active {
		q.workers++
		q.wg.Go(q.work)
	}
	return nil
}

func (q *queue) work() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		for len(q.waiting) == 0 {
			if q.closed {
				return
			}
			q.idle++
			q.wake.Wait()
			q.idle--
		}
		j := q.waiting[0]
		q.waiting[0] = job{}
		q.waiting = q.waiting[1:]
		cost := j.r.cost()
		q.mu.Unlock()
		j.do(j.r)
		q.mu.Lock()
		q.bytes -= cost
		q.room.Signal()
	}
}

// close does what is queued, and waits until all is done.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.wake.Broadcast()
	q.mu.Unlock()
	q.wg.Wait()
}
