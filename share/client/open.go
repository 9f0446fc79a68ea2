package client

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/card"
	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// proc is one process.
type proc struct {
	k     *Kernel
	cred  card.Cred
	cwd   *inode // with a reference
	pid   uint32
	owner uint64        // of POSIX locks
	waits atomic.Uint64 // the SETLKW that it is in; 0: none
	// interrupt ends a wait for a lock of the kernel's own; nil: none.
	interrupt atomic.Pointer[context.CancelFunc]

	mu    sync.Mutex
	files map[*file]struct{} // guarded by mu; nil after Exit
}

var _ card.Proc = (*proc)(nil)

// Start implements card.System.
func (k *Kernel) Start(c card.Cred, dir string) (card.Proc, error) {
	p := &proc{k: k, cred: c, pid: uint32(k.ids.Add(1)), owner: k.ids.Add(1), files: map[*file]struct{}{}, cwd: k.root}
	if dir == "" {
		dir = "."
	}
	// The folder is entered before the rights to enter it are given up.
	first := &proc{k: k, cwd: k.root, pid: p.pid}
	n, err := first.resolve(dir, true)
	if err != nil {
		return nil, err
	}
	if !n.isDir() {
		k.put(n)
		return nil, posix.ENOTDIR
	}
	p.cwd = n
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.procs == nil {
		return nil, posix.ENOTCONN
	}
	k.procs[p] = struct{}{}
	return p, nil
}

// Interrupt implements card.Proc.
func (p *proc) Interrupt() {
	if cancel := p.interrupt.Load(); cancel != nil {
		(*cancel)()
	}
	if id := p.waits.Load(); id != 0 {
		_ = p.k.send(id|1, header{op: fuse.OpInterrupt, who: p}, fuse.InterruptIn{Unique: id})
	}
}

// Exit implements card.Proc.
func (p *proc) Exit() {
	p.mu.Lock()
	files := p.files
	p.files = nil
	p.mu.Unlock()
	if files == nil {
		return
	}
	for f := range files {
		_ = f.finish()
	}
	p.k.put(p.cwd)
	p.k.mu.Lock()
	delete(p.k.procs, p)
	p.k.mu.Unlock()
}

// description is an open file, which several handles may share.
type description struct {
	n      *inode // with a reference
	flags  uint32
	fh     uint64
	hasFH  bool // the server knows of it: not of O_PATH and special files
	noLink bool // O_TMPFILE with O_EXCL
	linked bool // may be linked though it has no name
	owner  uint64

	mu     sync.Mutex
	refs   int    // handles; guarded by mu
	offset int64  // guarded by mu
	cookie uint64 // where a folder's reading is; guarded by mu
}

func (d *description) reads() bool  { return d.flags&posix.O_ACCMODE != posix.O_WRONLY && d.hasFH }
func (d *description) writes() bool { return d.flags&posix.O_ACCMODE != posix.O_RDONLY && d.hasFH }

func (p *proc) describe(n *inode, flags uint32) *description {
	return &description{n: n, flags: flags, owner: p.k.ids.Add(1), refs: 1}
}

func (p *proc) install(d *description) *file {
	f := &file{p: p, d: d}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files[f] = struct{}{}
	return f
}

func wanted(flags uint32) uint32 {
	want := [4]uint32{mayRead, mayWrite, mayRead | mayWrite, mayRead | mayWrite}[flags&posix.O_ACCMODE]
	if flags&posix.O_TRUNC != 0 {
		want |= mayWrite
	}
	return want
}

// Open implements card.Proc.
func (p *proc) Open(path string, flags, mode uint32) (card.File, error) {
	d, err := p.open(path, flags, mode)
	if err != nil {
		return nil, err
	}
	return p.install(d), nil
}

func (p *proc) open(path string, flags, mode uint32) (*description, error) {
	mode &= posix.ModeMask
	if flags&posix.O_PATH != 0 {
		flags &= posix.O_PATH | posix.O_DIRECTORY | posix.O_NOFOLLOW
	}
	if flags&posix.O_TMPFILE == posix.O_TMPFILE {
		return p.tmpfile(path, flags, mode)
	}
	w := walker{p: p}
	from := p.k.get(p.cwd)
	for {
		at, err := w.parent(from, path)
		p.k.put(from)
		if err != nil {
			return nil, err
		}
		d, again, err := p.openAt(&w, at, flags, mode)
		if again == "" {
			p.k.put(at.dir)
			return d, err
		}
		from, path = at.dir, again // the last component is a symbolic link
	}
}

// openAt opens a path's last component, or returns the target of a symbolic link to go
// on with.
func (p *proc) openAt(w *walker, at place, flags, mode uint32) (d *description, again string, err error) {
	if flags&posix.O_CREAT != 0 && at.slash {
		return nil, "", posix.EISDIR
	}
	n, err := w.step(at.dir, at.name, false)
	switch {
	case err == posix.ENOENT && flags&posix.O_CREAT != 0:
		d, err = p.createOpen(at, flags, mode)
		return d, "", err
	case err != nil:
		return nil, "", err
	}
	if n.kind == posix.S_IFLNK && flags&posix.O_NOFOLLOW == 0 && flags&(posix.O_CREAT|posix.O_EXCL) != posix.O_CREAT|posix.O_EXCL {
		defer p.k.put(n)
		again, err = w.target(n)
		return nil, again, err
	}
	d, err = p.openInode(at, n, flags)
	if err != nil {
		p.k.put(n)
	}
	return d, "", err
}

// openInode opens what is there; the description keeps the caller's reference.
func (p *proc) openInode(at place, n *inode, flags uint32) (*description, error) {
	write := wanted(flags)&mayWrite != 0
	switch {
	case flags&posix.O_CREAT != 0 && flags&posix.O_EXCL != 0:
		return nil, posix.EEXIST
	case (flags&posix.O_DIRECTORY != 0 || at.slash) && !n.isDir():
		return nil, posix.ENOTDIR
	case flags&posix.O_PATH != 0:
		return p.describe(n, flags), nil
	case n.kind == posix.S_IFLNK:
		return nil, posix.ELOOP
	case n.isDir() && (write || flags&posix.O_CREAT != 0):
		return nil, posix.EISDIR
	}
	a, err := p.attr(n, nil)
	if err != nil {
		return nil, err
	}
	if err := p.allowed(a, wanted(flags)); err != nil {
		return nil, err
	}
	if flags&posix.O_NOATIME != 0 && !p.root() && p.cred.UID != a.UID {
		return nil, posix.EPERM
	}
	d := p.describe(n, flags)
	switch n.kind {
	case posix.S_IFSOCK:
		return nil, posix.ENXIO
	case posix.S_IFDIR:
		return d, p.openCall(d, fuse.OpOpendir, fuse.OpenIn{Flags: flags})
	case posix.S_IFREG:
		in := fuse.OpenIn{Flags: flags &^ (posix.O_CREAT | posix.O_EXCL | posix.O_NOCTTY)}
		if flags&posix.O_TRUNC != 0 && !p.root() {
			in.OpenFlags |= fuse.OpenKillSUIDGID
		}
		return d, p.openCall(d, fuse.OpOpen, in)
	}
	return d, nil // a FIFO or device: the server has no part in it
}

func (p *proc) openCall(d *description, op fuse.Opcode, in fuse.OpenIn) error {
	r, err := p.k.call(header{op, d.n.id, p}, in)
	if err == posix.ENOSYS {
		return nil // no opens are needed: file handle 0 will do
	}
	if err != nil {
		return err
	}
	var out fuse.OpenOut
	out.Decode(&r)
	d.fh, d.hasFH = out.FH, true
	return r.Err()
}

func (p *proc) createOpen(at place, flags, mode uint32) (*description, error) {
	if at.dir.isDead(p.k) {
		return nil, posix.ENOENT
	}
	if err := p.may(at.dir, mayWrite|mayExec); err != nil {
		return nil, err
	}
	if flags&posix.O_DIRECTORY != 0 {
		return nil, posix.EINVAL
	}
	return p.createCall(fuse.OpCreate, at.dir, at.name, flags&^posix.O_NOCTTY, mode)
}

// createCall sends CREATE or TMPFILE: they answer with an entry and a handle.
func (p *proc) createCall(op fuse.Opcode, dir *inode, name string, flags, mode uint32) (*description, error) {
	in := fuse.CreateIn{Flags: flags, Mode: posix.S_IFREG | mode&^p.cred.Umask, Umask: p.cred.Umask}
	r, err := p.k.call(header{op, dir.id, p}, in, named(name))
	if err != nil {
		return nil, err
	}
	n, a, err := p.k.entry(dir, &r)
	if err != nil {
		return nil, err
	}
	var out fuse.OpenOut
	out.Decode(&r)
	if r.Err() != nil || a.Mode&posix.S_IFMT != posix.S_IFREG {
		p.k.put(n)
		return nil, posix.EIO
	}
	d := p.describe(n, flags)
	d.fh, d.hasFH = out.FH, true
	return d, nil
}

func (p *proc) tmpfile(path string, flags, mode uint32) (*description, error) {
	if flags&posix.O_ACCMODE == posix.O_RDONLY {
		return nil, posix.EINVAL
	}
	var d *description
	err := p.on(path, true, func(n *inode) error {
		if !n.isDir() {
			return posix.ENOTDIR
		}
		if err := p.may(n, mayWrite|mayExec); err != nil {
			return err
		}
		var err error
		d, err = p.createCall(fuse.OpTmpfile, n, "/", flags, mode)
		return err
	})
	if err != nil {
		return nil, err
	}
	d.linked = flags&posix.O_EXCL == 0
	d.noLink = !d.linked
	return d, nil
}

// attrs returns an open file's attributes.
func (f *file) attrs() (share.Attr, error) { return f.p.attr(f.d.n, f.d) }
