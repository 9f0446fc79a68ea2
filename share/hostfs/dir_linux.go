package hostfs

import (
	"math"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// A dir is a folder open for reading.
type dir struct {
	fs  *FS
	fd  int
	dev uint64

	mu   sync.Mutex // guards what follows and the descriptor's offset
	next uint64     // the cookie that ahead and the offset go on from
	read []dirent   // of the kernel, not yet asked for
	buf  []byte
}

var _ share.Dir = (*dir)(nil)

// dirBuffer is for about a thousand short names.
const dirBuffer = 32 << 10

// OpenDir opens a folder for reading.
func (n *node) OpenDir() (share.Dir, error) {
	if n.typ != posix.S_IFDIR {
		return nil, posix.ENOTDIR
	}
	opened, err := n.reopen(unix.O_RDONLY | unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return &dir{fs: n.fs, fd: opened, dev: n.key.id.Volume}, nil
}

// Read returns entries after the cookie.
func (d *dir) Read(cookie uint64, most int) ([]share.DirEntry, error) {
	if cookie > math.MaxInt64 {
		return nil, posix.EINVAL
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if cookie == 0 || cookie != d.next {
		d.read = nil
		if err := again(func() error {
			_, err := unix.Seek(d.fd, int64(cookie), unix.SEEK_SET)
			return err
		}); err != nil {
			return nil, err
		}
		d.next = cookie
	}
	var list []share.DirEntry
	for len(list) < most {
		if len(d.read) == 0 {
			// What is here already goes out first: an error comes with the next call.
			if len(list) > 0 {
				break
			}
			if err := d.fill(); err != nil || len(d.read) == 0 {
				return nil, err
			}
		}
		e := d.read[0]
		d.read = d.read[1:]
		d.next = e.off
		list = append(list, share.DirEntry{
			Name:   e.name,
			Ino:    d.fs.inos.ino(d.dev, e.ino),
			Type:   d.typeOf(e),
			Cookie: e.off,
		})
	}
	return list, nil
}

func (d *dir) fill() error {
	if d.buf == nil {
		d.buf = make([]byte, dirBuffer)
	}
	var n int
	err := again(func() (err error) {
		n, err = unix.Getdents(d.fd, d.buf)
		return err
	})
	if err == posix.ENOENT {
		return nil // removed: empty
	}
	if err != nil {
		return err
	}
	d.read, err = parseDirents(d.buf[:n])
	return err
}

// typeOf returns the type to show. The host's own is not known to all file systems, and
// not the one to show for what is kept as a regular file.
func (d *dir) typeOf(e dirent) uint32 {
	if e.typ != posix.DT_REG && e.typ != posix.DT_UNKNOWN {
		return e.typ
	}
	st, err := statName(d.fd, e.name)
	if err != nil {
		return e.typ // gone meanwhile
	}
	mode := uint32(st.Mode)
	if mode&posix.S_IFMT == posix.S_IFREG && (d.fs.mapped || st.Size == 0) {
		if fd, err := openChild(d.fd, e.name, unix.O_PATH, 0); err == nil {
			if o, ok := d.fs.kept(fd, &st); ok {
				mode = o.typ
			}
			closeFD(fd)
		}
	}
	return mode & posix.S_IFMT >> 12
}

// Fsync makes the folder's entries durable.
func (d *dir) Fsync(dataOnly bool) error { return syncFD(d.fd, dataOnly) }

// Close closes the folder.
func (d *dir) Close() error {
	closeFD(d.fd)
	d.fs.pool.giveFile()
	return nil
}
