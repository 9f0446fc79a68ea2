package ntfake

import (
	"github.com/porthole-run/porthole/share/ntfs/ntapi"
)

// handle is an open file.
type handle struct {
	v *Volume // immutable

	// The rest is guarded by v.mu.
	node    *node
	link    *link // the name it was opened by; nil by id, and for the root
	access  uint32
	share   uint32
	closed  bool
	dispose uint32     // flags of SetDisposition
	owed    ntapi.Time // when it wrote; 0: nothing to tell at its close
	hold    bool       // its writes leave the times alone
	listed  int        // position of List
	listing []ntapi.DirEntry
	watch   *watch
}

var _ ntapi.Handle = (*handle)(nil)

// Root opens the volume's root directory.
func (v *Volume) Root() ntapi.Handle {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.open(v.root, nil, ntapi.OpenRequest{Access: ntapi.AccessReadData, Share: ntapi.ShareAll})
}

func (v *Volume) open(n *node, l *link, r ntapi.OpenRequest) *handle {
	h := &handle{v: v, node: n, link: l, access: r.Access, share: r.Share}
	n.handles[h] = struct{}{}
	return h
}

// enter begins a call that needs rights.
func (h *handle) enter(op string, rights uint32) error {
	if h.closed {
		return &ntapi.Error{Op: op, Status: ntapi.StatusInvalidHandle}
	}
	if err := h.v.begin(op); err != nil {
		return err
	}
	if rights != 0 && h.access&rights == 0 {
		return &ntapi.Error{Op: op, Status: ntapi.StatusAccessDenied}
	}
	return nil
}

// Open opens or creates a file.
func (h *handle) Open(r ntapi.OpenRequest) (ntapi.Handle, bool, error) {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	if err := h.enter("Open", 0); err != nil {
		return nil, false, err
	}
	got, created, status := h.v.create(h.node, r)
	if status != ntapi.StatusSuccess {
		return nil, false, &ntapi.Error{Op: "NtCreateFile", Status: status}
	}
	return got, created, nil
}

func (v *Volume) create(dir *node, r ntapi.OpenRequest) (*handle, bool, ntapi.Status) {
	if r.Options&ntapi.OptionByID != 0 {
		n := v.nodes[r.ID.Low]
		switch {
		case n == nil || r.ID.High != 0:
			return nil, false, ntapi.StatusInvalidParameter
		case n != v.root && len(n.links) == 0, n.deletePending:
			return nil, false, ntapi.StatusDeletePending
		case n == v.root || n.links[0].deleting == nil || len(n.links) > 1:
			h, status := v.reopen(n, nil, r)
			return h, false, status
		}
		return nil, false, ntapi.StatusDeletePending
	}
	if r.Name == "" {
		var l *link
		if len(dir.links) > 0 {
			l = dir.links[0]
		}
		h, status := v.reopen(dir, l, r)
		return h, false, status
	}
	if !dir.dir() {
		return nil, false, ntapi.StatusObjectPathInvalid
	}
	if dir != v.root && len(dir.links) == 0 || dir.deletePending {
		return nil, false, ntapi.StatusDeletePending
	}
	if s := checkName(r.Name); s != ntapi.StatusSuccess {
		return nil, false, s
	}
	if l := dir.find(r.Name); l != nil {
		switch {
		case l.deleting != nil || l.node.deletePending:
			return nil, false, ntapi.StatusDeletePending
		case r.Disposition == ntapi.DispositionCreate:
			return nil, false, ntapi.StatusObjectNameCollision
		}
		h, status := v.reopen(l.node, l, r)
		return h, false, status
	}
	if r.Disposition == ntapi.DispositionOpen {
		return nil, false, ntapi.StatusObjectNameNotFound
	}
	return v.createNew(dir, r)
}

func (v *Volume) createNew(dir *node, r ntapi.OpenRequest) (*handle, bool, ntapi.Status) {
	if v.free() < 1 {
		return nil, false, ntapi.StatusDiskFull
	}
	attributes := r.Attributes &^ (ntapi.AttributeNormal | ntapi.AttributeDirectory)
	if r.Options&ntapi.OptionDirectory != 0 {
		attributes |= ntapi.AttributeDirectory
	} else {
		attributes |= ntapi.AttributeArchive
	}
	eas, status := mergeEAs(nil, r.EAs)
	if status != ntapi.StatusSuccess {
		return nil, false, status
	}
	n := v.newNode(attributes)
	n.eas = eas
	l := v.add(dir, n, r.Name)
	v.notify(ntapi.ActionAdded, nameFilter(n), l)
	return v.open(n, l, r), true, ntapi.StatusSuccess
}

// reopen opens a file that is there.
func (v *Volume) reopen(n *node, l *link, r ntapi.OpenRequest) (*handle, ntapi.Status) {
	switch {
	case r.Options&ntapi.OptionDirectory != 0 && !n.dir():
		return nil, ntapi.StatusNotADirectory
	case r.Options&ntapi.OptionNonDirectory != 0 && n.dir():
		return nil, ntapi.StatusFileIsADirectory
	case n.reparse != nil && r.Options&ntapi.OptionReparsePoint == 0 && !filtered(n.reparse.Tag):
		return nil, ntapi.StatusReparsePoint
	case n.attributes&ntapi.AttributeReadonly != 0 && !n.dir() && r.Access&(ntapi.AccessWriteData|ntapi.AccessAppendData) != 0:
		return nil, ntapi.StatusAccessDenied
	case n.mapped && r.Access&ntapi.AccessWriteData != 0:
		return nil, ntapi.StatusSharingViolation
	}
	for o := range n.handles {
		if !shares(o.access) || !shares(r.Access) {
			continue
		}
		if !admits(o.share, r.Access) || !admits(r.Share, o.access) {
			return nil, ntapi.StatusSharingViolation
		}
	}
	return v.open(n, l, r), ntapi.StatusSuccess
}

// filtered tells tags whose filter gives the file's data to those who do not ask for the
// reparse point.
func filtered(tag uint32) bool {
	switch tag {
	case ntapi.TagUnix, ntapi.TagLxFIFO, ntapi.TagLxChar, ntapi.TagLxBlock:
		return false
	}
	return tag&ntapi.TagNameSurrogate == 0
}

// shares tells whether an access takes part in sharing: one to attributes alone does not.
func shares(access uint32) bool {
	return access&(ntapi.AccessReadData|ntapi.AccessWriteData|ntapi.AccessAppendData|ntapi.AccessDelete) != 0
}

// admits tells whether a share mode lets an access be.
func admits(share, access uint32) bool {
	return (access&ntapi.AccessReadData == 0 || share&ntapi.ShareRead != 0) &&
		(access&(ntapi.AccessWriteData|ntapi.AccessAppendData) == 0 || share&ntapi.ShareWrite != 0) &&
		(access&ntapi.AccessDelete == 0 || share&ntapi.ShareDelete != 0)
}

// Close closes the handle: names that it was to delete go, times that it owes are kept.
func (h *handle) Close() error {
	v := h.v
	v.mu.Lock()
	defer v.mu.Unlock()
	if h.closed {
		return &ntapi.Error{Op: "NtClose", Status: ntapi.StatusInvalidHandle}
	}
	h.closed = true
	n := h.node
	delete(n.handles, h)
	if h.owed != 0 {
		n.write, n.change = h.owed, max(n.change, h.owed)
		v.notifyNode(ntapi.ActionModified, ntapi.NotifyLastWrite, n)
	}
	if h.watch != nil {
		h.watch.end()
	}
	if h.dispose != 0 {
		h.finishDelete()
	}
	if n.deletePending && len(n.handles) == 0 {
		for len(n.links) > 0 {
			l := n.links[0]
			v.notify(ntapi.ActionRemoved, nameFilter(n), l)
			v.remove(l)
		}
	}
	v.reap(n)
	return nil
}

// finishDelete does at the close what SetDisposition ordered.
func (h *handle) finishDelete() {
	l := h.link
	if l == nil || l.deleting != h {
		return
	}
	l.deleting = nil
	if len(h.node.children) > 0 {
		return // filled since
	}
	h.v.notify(ntapi.ActionRemoved, nameFilter(h.node), l)
	h.v.remove(l)
}
