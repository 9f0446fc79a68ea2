package ntfs

import (
	"strings"
	"sync"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/ntfs/ntapi"
	"github.com/porthole-run/porthole/share/posix"
)

// dir is a share.Dir: the names of the time of its last rewind. It holds no handle, as a
// node.
type dir struct {
	n *node // a reference of its own

	mu      sync.Mutex // guards the rest
	entries []share.DirEntry
	closed  bool
}

var _ share.Dir = (*dir)(nil)

// OpenDir implements share.Node.
func (n *node) OpenDir() (share.Dir, error) {
	err := n.with(ntapi.AccessReadData, func(h ntapi.Handle) error {
		st, err := h.Stat()
		if err != nil {
			return err
		}
		kind, err := typeOf(st.Attributes, st.ReparseTag)
		if err == nil && kind != posix.S_IFDIR {
			err = posix.ENOTDIR
		}
		return err
	})
	if err != nil {
		return nil, n.wrap("open folder", err)
	}
	return &dir{n: &node{b: n.b, f: n.b.acquire(n.f.id)}}, nil
}

// Read implements share.Dir.
func (d *dir) Read(cookie uint64, most int) ([]share.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, posix.EBADF
	}
	if cookie == 0 || d.entries == nil {
		if err := d.fill(); err != nil {
			return nil, d.n.wrap("list", err)
		}
	}
	if cookie >= uint64(len(d.entries)) || most <= 0 {
		return nil, nil
	}
	rest := d.entries[cookie:]
	return rest[:min(len(rest), most)], nil
}

func (d *dir) fill() error {
	d.entries = []share.DirEntry{}
	if d.n.f.gone.Load() {
		return nil
	}
	var all []ntapi.DirEntry
	err := d.n.with(ntapi.AccessReadData, func(h ntapi.Handle) error {
		var err error
		all, err = list(h, 0)
		return err
	})
	if d.n.f.gone.Load() {
		return nil
	}
	if err != nil {
		return err
	}
	own := inodeNumber(d.n.f.id)
	for _, name := range []string{".", ".."} {
		d.add(share.DirEntry{Name: name, Ino: own, Type: posix.DT_DIR})
	}
	seen := map[string]bool{}
	for _, e := range all {
		kind, err := typeOf(e.Attributes, e.ReparseTag)
		if e.Name == "." || e.Name == ".." || err != nil || strings.HasPrefix(e.Name, hiddenPrefix) {
			continue
		}
		name := guestName(e.Name)
		if seen[name] {
			continue // an alias that a guest gave to a file of its own
		}
		seen[name] = true
		d.add(share.DirEntry{Name: name, Ino: inodeNumber(e.ID), Type: kind >> 12})
	}
	return nil
}

func (d *dir) add(e share.DirEntry) {
	e.Cookie = uint64(len(d.entries)) + 1
	d.entries = append(d.entries, e)
}

// Fsync implements share.Dir.
func (d *dir) Fsync(bool) error {
	return d.n.wrap("fsync", d.n.with(accessDir, func(h ntapi.Handle) error {
		return h.Flush(ntapi.FlushNormal)
	}))
}

// Close implements share.Dir.
func (d *dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return posix.EBADF
	}
	d.closed = true
	d.n.Release()
	return nil
}
