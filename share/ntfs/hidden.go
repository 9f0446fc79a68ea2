package ntfs

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/ntfs/ntapi"
	"github.com/porthole-run/porthole/share/posix"
)

// tmpPrefix begins the hidden names of files that guests made without a name.
const tmpPrefix = hiddenPrefix + "t"

// hiddenName returns a new name that guests neither see nor can say.
func hiddenName(kind string) string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return hiddenPrefix + kind + hex.EncodeToString(b[:])
}

// orphan runs remove, which takes a name of the file away, so that nodes of the file go on
// when that was its last: a handle is kept until they are released. The caller has i.meta
// and a reference of i.
func (b *Backend) orphan(i *inode, h ntapi.Handle, st ntapi.StatLx, remove func() error) error {
	switch {
	case i.gone.Load() || st.Links == 0:
		return posix.ENOENT // by another request, since it was found
	case st.Links > 1 && st.Attributes&ntapi.AttributeDirectory == 0:
		return remove()
	}
	if err := b.keep(i, h, st); err != nil {
		return err
	}
	if err := remove(); err != nil {
		_ = i.unpin() // opened for nothing
		return err
	}
	i.gone.Store(true)
	return nil
}

// keep pins a file by one more handle. The caller has i.meta and a reference of i.
func (b *Backend) keep(i *inode, h ntapi.Handle, st ntapi.StatLx) error {
	access := uint32(accessData)
	if st.Attributes&ntapi.AttributeDirectory != 0 {
		access = accessDir | ntapi.AccessReadEA | ntapi.AccessWriteEA
	}
	keep, err := b.open(h, b.request(access))
	if err != nil {
		// It cannot be opened so: a program runs from it, or it is read-only.
		keep, err = b.open(h, b.request(ntapi.AccessReadData|ntapi.AccessReadEA))
		if err != nil {
			return err
		}
	}
	i.pin.Lock()
	defer i.pin.Unlock()
	i.orphan = keep
	return nil
}

// keepRemoved pins a file whose last name went after it was opened, and before the inode
// had a reference that the remover could see.
func (b *Backend) keepRemoved(i *inode, h ntapi.Handle) error {
	st, err := h.Stat()
	if err != nil || st.Links > 0 {
		return err
	}
	i.meta.Lock()
	defer i.meta.Unlock()
	if i.gone.Load() {
		return nil
	}
	if err := b.keep(i, h, st); err != nil {
		return err
	}
	i.gone.Store(true)
	return nil
}

// Tmpfile implements share.Node. The file has a hidden name in the share's root, since
// NTFS gives a file whose last name is gone no new one; it goes with the last use. No
// rename is hindered there: the root has none.
func (n *node) Tmpfile(flags uint32, how share.New) (share.Node, share.File, share.Attr, error) {
	var child *node
	var f *file
	var a share.Attr
	how.Mode = how.Mode&posix.ModeMask | posix.S_IFREG
	r := ntapi.OpenRequest{Access: accessData, Attributes: ntapi.AttributeHidden, Options: ntapi.OptionNonDirectory | openOptions(flags)}
	err := n.inDir(func(_ ntapi.Handle, st ntapi.StatLx) error {
		return n.b.makeHost(n.b.root, st, hiddenName("t"), how, r, func(h ntapi.Handle, st ntapi.StatLx) error {
			i := n.b.acquire(st.ID)
			defer n.b.release(i)
			i.meta.Lock()
			defer i.meta.Unlock()
			err := n.b.keep(i, h, st)
			if err != nil {
				return err
			}
			i.gone.Store(true)
			if child, a, err = n.b.node(st.ID, h); err == nil {
				i.hidden.Store(true)
				f = n.b.newFile(h, st, flags)
			}
			return err
		})
	})
	if err != nil {
		return nil, nil, a, n.wrap("tmpfile in", err)
	}
	return child, f, a, nil
}

// unhide gives a file that was made without a name its first one. The caller has i.meta.
func (b *Backend) unhide(i *inode, h, dir ntapi.Handle, host string) error {
	d, err := b.open(h, b.request(ntapi.AccessDelete|ntapi.AccessWriteAttributes))
	if err != nil {
		return err
	}
	err = b.retry(func() error { return d.Rename(dir, host, renameFlags) }, ntapi.StatusDeletePending)
	if err == nil {
		i.hidden.Store(false)
		i.gone.Store(false)
		err = d.SetBasic(ntapi.Basic{Attributes: ntapi.AttributeNormal})
	}
	return errors.Join(err, d.Close())
}

// sweep removes hidden files of servers that ended without doing so. Those of servers
// that run are open, and so not to be had alone.
func (b *Backend) sweep() error {
	entries, err := b.entries(b.root, nil)
	if errors.Is(err, posix.ENOTDIR) {
		return nil // one file is shared
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name, tmpPrefix) {
			continue
		}
		r := b.request(ntapi.AccessReadData | ntapi.AccessDelete)
		r.Name, r.Share = e.Name, 0
		h, _, err := b.root.Open(r)
		if errors.Is(err, ntapi.StatusSharingViolation) || errors.Is(err, posix.ENOENT) {
			continue
		}
		if err == nil {
			err = errors.Join(h.SetDisposition(disposeFlags), h.Close())
		}
		if err != nil {
			return err
		}
	}
	return nil
}
