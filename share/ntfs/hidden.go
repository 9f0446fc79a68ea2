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
	dir := st.Attributes&ntapi.AttributeDirectory != 0
	if st.Links > 1 && !dir {
		return remove()
	}
	access := uint32(accessData)
	if dir {
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
	i.orphan = keep
	i.pin.Unlock()
	if err := remove(); err != nil {
		_ = i.unpin() // opened for nothing
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
			keep, err := n.b.open(h, n.b.request(accessData))
			if err != nil {
				return err
			}
			i.pin.Lock()
			i.orphan = keep
			i.pin.Unlock()
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
