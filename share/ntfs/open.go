package ntfs

import (
	"errors"
	"strings"

	"github.com/porthole-run/porthole/share/ntfs/ntapi"
	"github.com/porthole-run/porthole/share/posix"
)

const (
	accessData = ntapi.AccessReadData | ntapi.AccessWriteData | ntapi.AccessReadEA | ntapi.AccessWriteEA |
		ntapi.AccessReadAttributes | ntapi.AccessWriteAttributes
	accessDir = ntapi.AccessReadData | ntapi.AccessWriteData | ntapi.AccessAppendData | ntapi.AccessTraverse |
		ntapi.AccessReadAttributes | ntapi.AccessWriteAttributes
)

// request is an open of what is there: shared with all, links not followed.
func (b *Backend) request(access uint32) ntapi.OpenRequest {
	return ntapi.OpenRequest{
		Access: access | ntapi.AccessReadAttributes | ntapi.AccessReadEA, Share: ntapi.ShareAll,
		Disposition: ntapi.DispositionOpen, Options: ntapi.OptionReparsePoint,
	}
}

// open opens relative to dir, waiting for programs that have the file to themselves.
func (b *Backend) open(dir ntapi.Handle, r ntapi.OpenRequest) (h ntapi.Handle, err error) {
	again := []ntapi.Status{ntapi.StatusSharingViolation}
	if r.Disposition == ntapi.DispositionCreate {
		again = append(again, ntapi.StatusDeletePending)
	}
	err = b.retry(func() error {
		h, _, err = dir.Open(r)
		return err
	}, again...)
	return h, err
}

// openID opens a file that has a name, whatever it is. A read-only attribute that is in
// the way of writing goes: a mode says what may be written.
func (b *Backend) openID(id ntapi.FileID, access, options uint32) (ntapi.Handle, error) {
	r := b.request(access)
	r.Options |= options
	if id != b.rootID {
		r.ID = id
		r.Options |= ntapi.OptionByID
	}
	h, err := b.open(b.root, r)
	if errors.Is(err, ntapi.StatusAccessDenied) && access&ntapi.AccessWriteData != 0 && b.clearReadonly(r) == nil {
		h, err = b.open(b.root, r)
	}
	return h, err
}

// clearReadonly clears a file's read-only attribute; an error when it had none.
func (b *Backend) clearReadonly(r ntapi.OpenRequest) error {
	r.Access = ntapi.AccessReadAttributes | ntapi.AccessWriteAttributes
	h, err := b.open(b.root, r)
	if err != nil {
		return err
	}
	defer closeQuietly(h)
	st, err := h.Stat()
	if err != nil {
		return err
	}
	if st.Attributes&ntapi.AttributeReadonly == 0 {
		return posix.EACCES
	}
	return h.SetBasic(ntapi.Basic{Attributes: st.Attributes&^ntapi.AttributeReadonly | ntapi.AttributeNormal})
}

// closeQuietly closes a handle that nothing was written through.
func closeQuietly(h ntapi.Handle) { _ = h.Close() }

// reach opens an inode for a while: by the handle of a file without a name, by its id, or
// by a file that a guest has open. done gives it back. The caller has b.tree.
func (b *Backend) reach(i *inode, access uint32) (h ntapi.Handle, done func(), err error) {
	pinned := func() bool {
		i.pin.RLock()
		if i.orphan == nil {
			i.pin.RUnlock()
			return false
		}
		h, done = i.orphan, i.pin.RUnlock
		return true
	}
	if pinned() {
		return h, done, nil
	}
	h, err = b.openID(i.id, access, 0)
	if err == nil {
		return h, func() { closeQuietly(h) }, nil
	}
	if !errors.Is(err, ntapi.StatusInvalidParameter) && !errors.Is(err, ntapi.StatusDeletePending) &&
		!errors.Is(err, ntapi.StatusObjectNameNotFound) {
		return nil, nil, err
	}
	if pinned() { // its name went meanwhile
		return h, done, nil
	}
	// The host removed it: what a guest has open goes on.
	i.mu.Lock()
	defer i.mu.Unlock()
	for f := range i.files {
		if h := f.h.Load(); h != nil {
			f.using.Add(1)
			return *h, f.using.Done, nil
		}
	}
	return nil, nil, posix.ESTALE
}

// found is a file that lookup has open.
type found struct {
	h    ntapi.Handle
	st   ntapi.StatLx
	name string // as NTFS has it
}

// lookup opens a name of a guest in a directory, exactly: one in another case or an 8.3
// alias is ENOENT. The caller has b.tree.
func (b *Backend) lookup(dir ntapi.Handle, i *inode, name string, access uint32) (found, error) {
	host, err := hostName(name)
	if err != nil {
		return found{}, err
	}
	x, err := b.lookupHost(dir, i, host, access)
	if errors.Is(err, posix.ENOENT) && mayBeAlias(name) {
		return b.lookupAlias(dir, i, name, access, err)
	}
	return x, err
}

func (b *Backend) lookupHost(dir ntapi.Handle, i *inode, host string, access uint32) (found, error) {
	r := b.request(access)
	r.Name = host
	h, err := b.open(dir, r)
	if err != nil {
		return found{}, err
	}
	st, err := h.Stat()
	if err == nil && !(i.caseSensitive() && !strings.Contains(host, "~")) {
		err = exact(h, host)
	}
	if err != nil {
		closeQuietly(h)
		return found{}, err
	}
	return found{h, st, host}, nil
}

// exact compares a name with what was opened by it.
func exact(h ntapi.Handle, host string) error {
	p, err := h.Path()
	if err != nil {
		return err
	}
	if p[strings.LastIndexByte(p, '\\')+1:] != host {
		return posix.ENOENT
	}
	return nil
}

func (b *Backend) lookupAlias(dir ntapi.Handle, i *inode, name string, access uint32, missing error) (found, error) {
	entries, err := list(dir, 0)
	if err != nil {
		return found{}, missing
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name, hiddenPrefix) && guestName(e.Name) == name {
			return b.lookupHost(dir, i, e.Name, access)
		}
	}
	return found{}, missing
}

// list returns all entries of a directory; with most, no more than a few over that.
func list(dir ntapi.Handle, most int) ([]ntapi.DirEntry, error) {
	var all []ntapi.DirEntry
	for restart := true; ; restart = false {
		some, err := dir.List(restart)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		if len(some) == 0 || most > 0 && len(all) > most {
			return all, nil
		}
	}
}

func (i *inode) caseSensitive() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.caseOn
}

// wantCase gives a directory the case flag before a guest makes something in it. Where
// NTFS refuses, names stay exact but two that differ in case alone cannot be.
func (i *inode) wantCase(dir ntapi.Handle, st ntapi.StatLx) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.caseKnown {
		i.caseKnown = true
		i.caseOn = st.LxFlags&ntapi.LxCaseSensitive != 0 || dir.SetCaseSensitive(true) == nil
	}
}

// with runs do with the node's file open for a while.
func (n *node) with(access uint32, do func(h ntapi.Handle) error) error {
	n.b.tree.RLock()
	defer n.b.tree.RUnlock()
	return n.withTree(access, do)
}

func (n *node) withTree(access uint32, do func(h ntapi.Handle) error) error {
	h, done, err := n.b.reach(n.f, access)
	if err != nil {
		return err
	}
	defer done()
	return do(h)
}
