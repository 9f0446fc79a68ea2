package ntfake

import (
	"github.com/porthole-run/porthole/share/ntfs/ntapi"
)

// SetDisposition orders the deletion of the name that the handle was opened by. Without
// DispositionPosix the whole file stays until its last handle closes, and cannot be
// opened.
func (h *handle) SetDisposition(flags uint32) error {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	const op = "SetDisposition"
	if err := h.enter(op, ntapi.AccessDelete); err != nil {
		return err
	}
	n, l := h.node, h.link
	if l == nil && len(n.links) > 0 {
		l = n.links[0]
		h.link = l
	}
	refuse := func(s ntapi.Status) error { return &ntapi.Error{Op: op, Status: s} }
	switch {
	case n == h.v.root || n.mapped:
		return refuse(ntapi.StatusCannotDelete)
	case len(n.links) == 0 || l == nil:
		return refuse(ntapi.StatusFileDeleted)
	case flags&ntapi.DispositionDelete == 0:
		if l.deleting == h {
			l.deleting = nil
		}
		h.dispose, n.deletePending = 0, false
		return nil
	case len(n.children) > 0:
		return refuse(ntapi.StatusDirectoryNotEmpty)
	case n.attributes&ntapi.AttributeReadonly != 0 && flags&ntapi.DispositionIgnoreReadonly == 0:
		return refuse(ntapi.StatusCannotDelete)
	case l.deleting != nil || n.deletePending:
		return refuse(ntapi.StatusDeletePending)
	case flags&ntapi.DispositionPosix == 0 && len(n.links) == 1:
		n.deletePending = true
	default:
		l.deleting = h
	}
	h.dispose = flags
	return nil
}

// Rename moves the name that the handle was opened by.
func (h *handle) Rename(to ntapi.Handle, name string, flags uint32) error {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	if err := h.enter("Rename", ntapi.AccessDelete); err != nil {
		return err
	}
	if s := h.rename(to, name, flags); s != ntapi.StatusSuccess {
		return &ntapi.Error{Op: "Rename", Status: s}
	}
	return nil
}

func (h *handle) rename(to ntapi.Handle, name string, flags uint32) ntapi.Status {
	v, n, l := h.v, h.node, h.link
	if l == nil && len(n.links) > 0 {
		l = n.links[0]
	}
	dir, status := v.target(to, name)
	switch {
	case status != ntapi.StatusSuccess:
		return status
	case l == nil || len(n.links) == 0:
		return ntapi.StatusFileDeleted
	case n.dir() && v.below(n):
		return ntapi.StatusAccessDenied
	}
	for up := dir; up != v.root; up = up.links[0].parent {
		if up == n {
			return ntapi.StatusInvalidParameter
		}
	}
	old := dir.find(name)
	if old != nil && old != l {
		if s := v.replace(old, n, flags); s != ntapi.StatusSuccess {
			return s
		}
	}
	v.notify(ntapi.ActionOldName, nameFilter(n), l)
	from := l.parent
	v.remove2(l)
	moved := v.add(dir, n, name)
	for o := range n.handles {
		if o.link == l {
			o.link = moved
		}
	}
	moved.deleting = l.deleting
	v.touch(from)
	v.notify(ntapi.ActionNewName, nameFilter(n), moved)
	return ntapi.StatusSuccess
}

// remove2 takes a name away from a file that gets another at once.
func (v *Volume) remove2(l *link) {
	n := l.node
	n.handles[nil] = struct{}{} // keeps it from being freed between its names
	v.remove(l)
	delete(n.handles, nil)
}

// target is the directory that a name is to come to.
func (v *Volume) target(to ntapi.Handle, name string) (*node, ntapi.Status) {
	dir, ok := to.(*handle)
	switch {
	case !ok || dir.v != v:
		return nil, ntapi.StatusNotSameDevice
	case dir.closed:
		return nil, ntapi.StatusInvalidHandle
	case !dir.node.dir():
		return nil, ntapi.StatusNotADirectory
	case dir.node != v.root && len(dir.node.links) == 0:
		return nil, ntapi.StatusDeletePending
	}
	return dir.node, checkName(name)
}

// replace takes away a name that another file gets. Neither directories nor, but for
// POSIX semantics, open files can be replaced.
func (v *Volume) replace(old *link, by *node, flags uint32) ntapi.Status {
	n := old.node
	switch {
	case flags&ntapi.RenameReplace == 0:
		return ntapi.StatusObjectNameCollision
	case old.deleting != nil || n.deletePending:
		return ntapi.StatusDeletePending
	case n.dir() || by.dir():
		return ntapi.StatusAccessDenied
	case n.attributes&ntapi.AttributeReadonly != 0 && flags&ntapi.RenameIgnoreReadonly == 0:
		return ntapi.StatusAccessDenied
	case n.mapped:
		return ntapi.StatusCannotDelete
	case len(n.handles) > 0 && flags&ntapi.RenamePosix == 0:
		return ntapi.StatusAccessDenied
	}
	for o := range n.handles {
		if o.share&ntapi.ShareDelete == 0 {
			return ntapi.StatusSharingViolation
		}
	}
	v.notify(ntapi.ActionRemoved, nameFilter(n), old)
	v.remove(old)
	return ntapi.StatusSuccess
}

// Link gives the file one more name.
func (h *handle) Link(to ntapi.Handle, name string, flags uint32) error {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	const op = "Link"
	if err := h.enter(op, 0); err != nil {
		return err
	}
	refuse := func(s ntapi.Status) error { return &ntapi.Error{Op: op, Status: s} }
	n := h.node
	dir, status := h.v.target(to, name)
	switch {
	case status != ntapi.StatusSuccess:
		return refuse(status)
	case n.dir():
		return refuse(ntapi.StatusFileIsADirectory)
	case len(n.links) == 0 || n.deletePending:
		return refuse(ntapi.StatusAccessDenied)
	case len(n.links) >= maxLinks:
		return refuse(ntapi.StatusTooManyLinks)
	}
	if old := dir.find(name); old != nil {
		if s := h.v.replace(old, n, flags); s != ntapi.StatusSuccess {
			return refuse(s)
		}
	}
	h.v.notify(ntapi.ActionAdded, ntapi.NotifyFileName, h.v.add(dir, n, name))
	return nil
}

// List returns some entries: those of the time of the restart, less those that went.
func (h *handle) List(restart bool) ([]ntapi.DirEntry, error) {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	if err := h.enter("List", ntapi.AccessReadData); err != nil {
		return nil, err
	}
	n := h.node
	if !n.dir() {
		return nil, &ntapi.Error{Op: "List", Status: ntapi.StatusInvalidParameter}
	}
	if restart || h.listing == nil {
		h.listed = 0
		h.listing = []ntapi.DirEntry{
			{Name: ".", ID: ntapi.FileID{Low: n.id}, Attributes: n.attributes},
			{Name: "..", Attributes: ntapi.AttributeDirectory},
		}
		for _, l := range n.children {
			e := ntapi.DirEntry{Name: l.name, ID: ntapi.FileID{Low: l.node.id}, Attributes: l.node.attributes}
			if l.node.reparse != nil {
				e.ReparseTag = l.node.reparse.Tag
				e.Attributes |= ntapi.AttributeReparsePoint
			}
			h.listing = append(h.listing, e)
		}
	}
	end := min(h.listed+100, len(h.listing))
	some := h.listing[h.listed:end:end]
	h.listed = end
	return some, nil
}
