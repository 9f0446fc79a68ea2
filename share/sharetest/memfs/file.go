package memfs

import (
	"math"
	"slices"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

const pageSize = 4096

type page [pageSize]byte

// maxSize bounds a file, as ext4 and others do no less.
const maxSize = 1 << 44

// maxPages bounds what one file takes of the test's memory.
const maxPages = 64 << 20 / pageSize

// zero makes a range read as zeros. Whole pages of it are holes after.
func (i *inode) zero(off, end uint64) {
	for p, data := range i.pages {
		from, to := max(off, uint64(p)*pageSize), min(end, uint64(p+1)*pageSize)
		if from >= to {
			continue
		}
		if to-from == pageSize {
			delete(i.pages, p)
			continue
		}
		clear(data[from-uint64(p)*pageSize : to-uint64(p)*pageSize])
	}
}

func (i *inode) truncate(size uint64) {
	if size < i.attr.Size {
		i.zero(size, (i.attr.Size+pageSize-1)&^(pageSize-1))
	}
	i.attr.Size = size
}

func (n *node) open(i *inode, flags uint32) (share.File, error) {
	switch i.attr.Mode & posix.S_IFMT {
	case posix.S_IFREG:
	case posix.S_IFDIR:
		return nil, posix.EISDIR
	default:
		return nil, posix.ENXIO
	}
	if flags&posix.O_TRUNC != 0 {
		i.truncate(0)
		i.touch(true)
		n.fs.tellFile(i, share.EventModify, n.origin)
	}
	n.fs.files++
	return &file{node: node{fs: n.fs, i: i, origin: n.origin}, flags: flags}, nil
}

func (n *node) Open(flags uint32) (share.File, error) {
	defer n.lock()()
	return n.open(n.i, flags)
}

func (n *node) Create(name string, flags uint32, w share.New) (share.Node, share.File, share.Attr, error) {
	defer n.lock()()
	if e, _ := n.i.find(name); e != nil && flags&posix.O_EXCL == 0 {
		f, err := n.open(e.file, flags)
		if err != nil {
			return nil, nil, share.Attr{}, err
		}
		h, a := n.give(e.file)
		return h, f, a, nil
	}
	i, err := n.make(name, w)
	if err != nil {
		return nil, nil, share.Attr{}, err
	}
	f, err := n.open(i, flags&^posix.O_TRUNC)
	if err != nil {
		return nil, nil, share.Attr{}, err
	}
	h, a := n.give(i)
	return h, f, a, nil
}

func (n *node) Tmpfile(flags uint32, w share.New) (share.Node, share.File, share.Attr, error) {
	defer n.lock()()
	if err := n.dir(); err != nil {
		return nil, nil, share.Attr{}, err
	}
	i := n.fs.newInode(w.Mode, w.Owner)
	n.inherit(i)
	f, err := n.open(i, flags)
	if err != nil {
		return nil, nil, share.Attr{}, err
	}
	i.attr.Nlink = 0
	i.linkable = flags&posix.O_EXCL == 0
	h, a := n.give(i)
	return h, f, a, nil
}

// file is an open file.
type file struct {
	node
	flags uint32
	wrote bool
	shut  bool
}

func (f *file) ReadAt(b []byte, off int64) (int, error) {
	defer f.lock()()
	size := int64(f.i.attr.Size)
	if off >= size {
		return 0, nil
	}
	b = b[:min(int64(len(b)), size-off)]
	for n := 0; n < len(b); {
		at := off + int64(n)
		in := at % pageSize
		step := min(len(b)-n, int(pageSize-in))
		if p := f.i.pages[at/pageSize]; p != nil {
			copy(b[n:n+step], p[in:])
		} else {
			clear(b[n : n+step])
		}
		n += step
	}
	return len(b), nil
}

func (f *file) WriteAt(b []byte, off int64, kill bool) (int, error) {
	defer f.lock()()
	return f.write(b, off, kill)
}

func (f *file) write(b []byte, off int64, kill bool) (int, error) {
	if f.flags&posix.O_ACCMODE == posix.O_RDONLY {
		return 0, posix.EBADF
	}
	if f.flags&posix.O_APPEND != 0 {
		off = int64(f.i.attr.Size)
	}
	if kill {
		f.i.kill()
	}
	delete(f.i.xattrs, "security.capability")
	if f.i.pages == nil {
		f.i.pages = make(map[int64]*page)
	}
	n := 0
	for n < len(b) {
		at := off + int64(n)
		p := f.i.pages[at/pageSize]
		if p == nil {
			if len(f.i.pages) >= maxPages {
				break
			}
			p = new(page)
			f.i.pages[at/pageSize] = p
		}
		n += copy(p[at%pageSize:], b[n:])
	}
	f.i.attr.Size = max(f.i.attr.Size, uint64(off)+uint64(n))
	f.i.touch(true)
	f.wrote = true
	f.fs.tellFile(f.i, share.EventModify, f.origin)
	if n < len(b) {
		return n, posix.ENOSPC
	}
	return n, nil
}

func (f *file) Fsync(bool) error { return nil }

func (f *file) Fallocate(mode uint32, off, length uint64) error {
	defer f.lock()()
	if f.flags&posix.O_ACCMODE == posix.O_RDONLY {
		return posix.EBADF
	}
	if length == 0 {
		return posix.EINVAL
	}
	if off > maxSize || length > maxSize-off {
		return posix.EFBIG
	}
	const keep, punch, zero = posix.FALLOC_FL_KEEP_SIZE, posix.FALLOC_FL_PUNCH_HOLE, posix.FALLOC_FL_ZERO_RANGE
	switch mode {
	case 0, keep:
	case punch | keep, zero, zero | keep:
		f.i.zero(off, off+length)
	default:
		return posix.EOPNOTSUPP
	}
	if mode&keep == 0 {
		f.i.attr.Size = max(f.i.attr.Size, off+length)
	}
	f.i.touch(true)
	f.fs.tellFile(f.i, share.EventModify, f.origin)
	return nil
}

func (f *file) Seek(off uint64, whence uint32) (uint64, error) {
	defer f.lock()()
	if whence != posix.SEEK_DATA && whence != posix.SEEK_HOLE {
		return 0, posix.EINVAL
	}
	if off >= f.i.attr.Size {
		return 0, posix.ENXIO
	}
	if whence == posix.SEEK_HOLE {
		p := int64(off / pageSize)
		for ; f.i.pages[p] != nil; p++ {
			off = uint64(p+1) * pageSize
		}
		return min(off, f.i.attr.Size), nil
	}
	best := int64(math.MaxInt64)
	for p := range f.i.pages {
		if p >= int64(off/pageSize) {
			best = min(best, p)
		}
	}
	if best == math.MaxInt64 || uint64(best)*pageSize >= f.i.attr.Size {
		return 0, posix.ENXIO
	}
	return max(off, uint64(best)*pageSize), nil
}

func (f *file) CopyTo(to share.File, off, toOff, length uint64) (uint64, error) {
	t := to.(*file)
	if t.i == f.i && off < toOff+length && toOff < off+length {
		return 0, posix.EINVAL
	}
	b := make([]byte, min(length, 1<<20))
	n, err := f.ReadAt(b, int64(off))
	if err != nil || n == 0 {
		return 0, err
	}
	n, err = t.WriteAt(b[:n], int64(toOff), false)
	return uint64(n), err
}

func (f *file) Close() error {
	defer f.lock()()
	if f.shut {
		return posix.EBADF
	}
	f.shut = true
	f.fs.files--
	if f.flags&posix.O_ACCMODE != posix.O_RDONLY {
		f.fs.tellFile(f.i, share.EventClose, f.origin)
	}
	return nil
}

// dir is an open folder.
type dir struct {
	fs   *FS
	i    *inode
	shut bool
}

func (n *node) OpenDir() (share.Dir, error) {
	defer n.lock()()
	if !n.i.isDir() {
		return nil, posix.ENOTDIR
	}
	n.fs.files++
	return &dir{fs: n.fs, i: n.i}, nil
}

func (d *dir) Read(cookie uint64, most int) ([]share.DirEntry, error) {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	return slices.Clip(d.i.after(cookie, most)), nil
}

func (d *dir) Fsync(bool) error { return nil }

func (d *dir) Close() error {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	if d.shut {
		return posix.EBADF
	}
	d.shut = true
	d.fs.files--
	return nil
}
