package hostfs

import (
	"container/list"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/share/posix"
)

// A Pool bounds the descriptors that nodes hold, and half as many again (64 at least)
// for open files and folders. All FS of a process should have one, as the process has
// one limit. It is safe for concurrent use.
//
// A node that is not in use may lose its descriptor when the pool is full, and gets it
// back by its file's handle. When meanwhile another than the FS has removed the file's
// last name and nobody has it open, it is gone: ESTALE. What cannot be opened by handle,
// or has no name, keeps its own; when such nodes alone reach the bound, further look-ups
// fail with ENFILE, as opens do past theirs.
type Pool struct {
	limit int // immutable after NewPool

	mu     sync.Mutex // guards what follows and every descriptor
	open   int        // descriptors of all nodes
	pinned int        // of them those that are never closed
	files  int        // open files and folders
	idle   *list.List // of *descriptor, in use last at the front; those that may be closed
}

// NewPool returns a pool for that many descriptors.
func NewPool(limit int) *Pool { return &Pool{limit: max(limit, 1), idle: list.New()} }

// defaultPool is for the FS whose Options name no Pool: 60 % of what the process may
// have, as open files and folders need descriptors too.
var defaultPool = sync.OnceValue(func() *Pool {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		r.Cur = 1024
	}
	return NewPool(int(min(r.Cur, 1<<20) * 6 / 10))
})

// fewFiles is how many files may be open however small the pool is.
const fewFiles = 64

// takeFile counts one more open file or folder: ENFILE when there are enough.
func (p *Pool) takeFile() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.files >= max(p.limit/2, fewFiles) {
		return posix.ENFILE
	}
	p.files++
	return nil
}

// giveFile counts one less.
func (p *Pool) giveFile() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files--
}

// A descriptor is the O_PATH descriptor of one file, which comes and goes. Its fields
// are guarded by the pool's mu, but for mnt, which is immutable.
type descriptor struct {
	mnt    *mount
	fd     int // -1 when closed
	users  int
	pinned bool // never closed: it could not be opened again
	handle *unix.FileHandle
	where  *list.Element // in idle
}

// room is ENFILE when no more nodes fit: what would make one asks first.
func (p *Pool) room() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pinned >= p.limit {
		return posix.ENFILE
	}
	return nil
}

// add takes over a new node's descriptor, in use once. ENFILE when no more fit; fd is
// then still the caller's.
func (p *Pool) add(d *descriptor, mnt *mount, fd int) error {
	d.mnt, d.fd, d.users = mnt, fd, 1
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pinned >= p.limit {
		return posix.ENFILE
	}
	p.open++
	if mnt.anchor < 0 {
		p.pin(d)
	}
	p.trim()
	return nil
}

// pin keeps a descriptor from ever being closed while its node is there. mu is held.
func (p *Pool) pin(d *descriptor) {
	d.pinned = true
	p.pinned++
}

// hold returns the descriptor, opened again if need be, and keeps it open until drop.
func (p *Pool) hold(d *descriptor) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.fd < 0 {
		p.mu.Unlock()
		d.mnt.fs.going.Lock()
		fd, err := againFD(func() (int, error) {
			return unix.OpenByHandleAt(d.mnt.anchor, *d.handle, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
		})
		d.mnt.fs.going.Unlock()
		p.mu.Lock()
		switch {
		case d.fd >= 0: // another was faster
			closeFD(fd)
		case err != nil:
			return -1, err
		default:
			d.fd = fd
			p.open++
			d.mnt.fs.closed.Add(-1)
		}
	}
	d.users++
	if d.where != nil {
		p.idle.Remove(d.where)
		d.where = nil
	}
	p.trim()
	return d.fd, nil
}

// drop ends what add or hold began.
func (p *Pool) drop(d *descriptor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d.users--
	if d.users == 0 && !d.pinned && d.fd >= 0 {
		d.where = p.idle.PushFront(d)
		p.trim()
	}
}

// supply gives a descriptor of the same file to one that has been closed and reports
// whether it took it.
func (p *Pool) supply(d *descriptor, fd int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.fd >= 0 {
		return false
	}
	d.fd = fd
	p.open++
	d.mnt.fs.closed.Add(-1)
	if d.users == 0 && !d.pinned {
		d.where = p.idle.PushFront(d)
	}
	p.trim()
	return true
}

// remove closes a descriptor for good.
func (p *Pool) remove(d *descriptor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.where != nil {
		p.idle.Remove(d.where)
		d.where = nil
	}
	if d.pinned {
		p.pinned--
		d.pinned = false
	}
	if d.fd < 0 {
		d.mnt.fs.closed.Add(-1)
		return
	}
	closeFD(d.fd)
	d.fd = -1
	p.open--
}

// nameless tells whether an open file has no name any more, or none yet: it would be gone
// for good with its descriptor. What is in memory of its attributes is enough.
func nameless(fd int) bool {
	var st unix.Statx_t
	err := again(func() error {
		return unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_NLINK, &st)
	})
	return err != nil || st.Nlink == 0
}

// crowded tells whether nodes may lose their descriptors soon.
func (p *Pool) crowded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return 2*p.open > p.limit
}

// trim closes what has been idle longest until the bound is kept. mu is held: handles
// are asked for here, and links counted, which are system calls that do no I/O.
func (p *Pool) trim() {
	for p.open > p.limit {
		last := p.idle.Back()
		if last == nil {
			return
		}
		d := p.idle.Remove(last).(*descriptor)
		d.where = nil
		if nameless(d.fd) {
			p.pin(d)
			continue
		}
		if d.handle == nil {
			h, _, err := unix.NameToHandleAt(d.fd, "", unix.AT_EMPTY_PATH)
			if err != nil {
				p.pin(d)
				continue
			}
			d.handle = &h
		}
		closeFD(d.fd)
		d.fd = -1
		p.open--
		d.mnt.fs.closed.Add(1)
	}
}
