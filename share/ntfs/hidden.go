package ntfs

import (
	"crypto/rand"
	"encoding/hex"

	"github.com/porthole-run/porthole/share/ntfs/ntapi"
)

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
