package ntfake

import (
	"encoding/binary"
	"maps"

	"github.com/porthole-run/porthole/share/ntfs/ntapi"
)

// Stat returns the record, with WSL's attributes among it.
func (h *handle) Stat() (ntapi.StatLx, error) {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	if err := h.enter("Stat", ntapi.AccessReadAttributes); err != nil {
		return ntapi.StatLx{}, err
	}
	n := h.node
	st := ntapi.StatLx{
		ID:       ntapi.FileID{Low: n.id},
		Creation: n.creation, Access: n.access, Write: n.write, Change: n.change,
		Allocation: n.units() * unitSize, EndOfFile: n.size,
		Attributes: n.attributes, Links: uint32(len(n.links)),
	}
	if n.reparse != nil {
		st.ReparseTag = n.reparse.Tag
		st.Attributes |= ntapi.AttributeReparsePoint
	}
	if n.caseFlag {
		st.LxFlags |= ntapi.LxCaseSensitive
	}
	for name, field := range map[string]*uint32{ntapi.EAUID: &st.UID, ntapi.EAGID: &st.GID, ntapi.EAMode: &st.Mode} {
		if b := n.eas[name]; len(b) == 4 {
			*field = binary.LittleEndian.Uint32(b)
			st.LxFlags |= map[string]uint32{ntapi.EAUID: ntapi.LxHasUID, ntapi.EAGID: ntapi.LxHasGID, ntapi.EAMode: ntapi.LxHasMode}[name]
		}
	}
	if b := n.eas[ntapi.EADev]; len(b) == 8 {
		st.Major, st.Minor = binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		st.LxFlags |= ntapi.LxHasDev
	}
	return st, nil
}

// Path returns the path of the name that the handle was opened by, or of any.
func (h *handle) Path() (string, error) {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	if err := h.enter("Path", 0); err != nil {
		return "", err
	}
	if h.node == h.v.root {
		return `\`, nil
	}
	for _, l := range h.node.links {
		if l == h.link || h.link == nil {
			return path(l), nil
		}
	}
	if len(h.node.links) > 0 {
		return path(h.node.links[0]), nil
	}
	return "", &ntapi.Error{Op: "Path", Status: ntapi.StatusFileDeleted}
}

// SetBasic sets times and attributes; -1 and -2 are orders for this handle's writes.
func (h *handle) SetBasic(b ntapi.Basic) error {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	if err := h.enter("SetBasic", ntapi.AccessWriteAttributes); err != nil {
		return err
	}
	n := h.node
	for _, t := range []ntapi.Time{b.Creation, b.Access, b.Write, b.Change} {
		if t < ntapi.TimeResume {
			return &ntapi.Error{Op: "SetBasic", Status: ntapi.StatusInvalidParameter}
		}
	}
	n.change = h.v.now()
	switch {
	case b.Write == ntapi.TimeHold:
		h.hold = true
	case b.Write == ntapi.TimeResume:
		h.hold = false
	case b.Write > 0:
		n.write, h.hold, h.owed = b.Write, true, 0
	}
	if b.Creation > 0 {
		n.creation = b.Creation
	}
	if b.Access > 0 {
		n.access = b.Access
	}
	if b.Change > 0 {
		n.change = b.Change
	}
	if b.Attributes != 0 {
		const settable = ntapi.AttributeReadonly | ntapi.AttributeHidden | ntapi.AttributeSystem | ntapi.AttributeArchive
		n.attributes = n.attributes&^settable | b.Attributes&settable
	}
	h.v.notifyNode(ntapi.ActionModified, ntapi.NotifyAttributes|ntapi.NotifyLastWrite, n)
	return nil
}

// Volume returns the volume's figures.
func (h *handle) Volume() (ntapi.Volume, error) {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	if err := h.enter("Volume", 0); err != nil {
		return ntapi.Volume{}, err
	}
	free := h.v.free()
	return ntapi.Volume{
		Serial: 0x1CC1_CC1C, FileSystem: h.v.cfg.FileSystem, BytesPerUnit: unitSize,
		Units: h.v.cfg.Units, Free: free, CallerFree: free,
	}, nil
}

// SetCaseSensitive sets a directory's case flag; it cannot go when names differ in
// nothing else.
func (h *handle) SetCaseSensitive(on bool) error {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	const op = "SetCaseSensitive"
	if err := h.enter(op, ntapi.AccessWriteAttributes); err != nil {
		return err
	}
	n := h.node
	if !n.dir() {
		return &ntapi.Error{Op: op, Status: ntapi.StatusInvalidParameter}
	}
	if s := h.v.cfg.CaseFlag; s != ntapi.StatusSuccess {
		return &ntapi.Error{Op: op, Status: s}
	}
	if !on {
		seen := map[string]bool{}
		for _, l := range n.children {
			if seen[upcase(l.name)] {
				return &ntapi.Error{Op: op, Status: ntapi.StatusCaseDiffering}
			}
			seen[upcase(l.name)] = true
		}
	}
	n.caseFlag = on
	n.change = h.v.now()
	return nil
}

// mergeEAs returns a file's attributes after setting some.
func mergeEAs(have map[string][]byte, set []ntapi.EA) (map[string][]byte, ntapi.Status) {
	all := maps.Clone(have)
	if all == nil {
		all = map[string][]byte{}
	}
	for _, e := range set {
		if _, err := ntapi.EncodeEAs([]ntapi.EA{e}); err != nil {
			return nil, ntapi.StatusEATooLarge
		}
		name := upcase(e.Name)
		if len(e.Value) == 0 {
			delete(all, name)
			continue
		}
		all[name] = append([]byte(nil), e.Value...)
	}
	size := 0
	for name, value := range all {
		size += ntapi.EASize(ntapi.EA{Name: name, Value: value})
	}
	if size > ntapi.MaxEAs {
		return nil, ntapi.StatusEATooLarge
	}
	return all, ntapi.StatusSuccess
}

// EAs returns those of the names that are there, names in upper case.
func (h *handle) EAs(names ...string) ([]ntapi.EA, error) {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	if err := h.enter("EAs", ntapi.AccessReadEA); err != nil {
		return nil, err
	}
	var all []ntapi.EA
	for _, name := range names {
		if value, there := h.node.eas[upcase(name)]; there {
			all = append(all, ntapi.EA{Name: upcase(name), Value: append([]byte(nil), value...)})
		}
	}
	return all, nil
}

// SetEAs sets or removes attributes, all or none.
func (h *handle) SetEAs(eas []ntapi.EA) error {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	if err := h.enter("SetEAs", ntapi.AccessWriteEA); err != nil {
		return err
	}
	all, status := mergeEAs(h.node.eas, eas)
	if status != ntapi.StatusSuccess {
		return &ntapi.Error{Op: "SetEAs", Status: status}
	}
	h.node.eas = all
	h.node.change = h.v.now()
	h.v.notifyNode(ntapi.ActionModified, ntapi.NotifyEA, h.node)
	return nil
}

// Reparse returns the reparse point.
func (h *handle) Reparse() (ntapi.Reparse, error) {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	if err := h.enter("Reparse", 0); err != nil {
		return ntapi.Reparse{}, err
	}
	if h.node.reparse == nil {
		return ntapi.Reparse{}, &ntapi.Error{Op: "Reparse", Status: ntapi.StatusNotAReparsePoint}
	}
	return *h.node.reparse, nil
}

// SetReparse sets it: a directory must be empty, a tag that is there the same.
func (h *handle) SetReparse(r ntapi.Reparse) error {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	const op = "SetReparse"
	if err := h.enter(op, ntapi.AccessWriteAttributes|ntapi.AccessWriteData); err != nil {
		return err
	}
	n := h.node
	switch {
	case len(r.Data) > 16*1024-8:
		return &ntapi.Error{Op: op, Status: ntapi.StatusReparseDataInvalid}
	case n.dir() && len(n.children) > 0:
		return &ntapi.Error{Op: op, Status: ntapi.StatusDirectoryNotEmpty}
	case n.reparse != nil && n.reparse.Tag != r.Tag:
		return &ntapi.Error{Op: op, Status: ntapi.StatusReparseTagMismatch}
	}
	n.reparse = &ntapi.Reparse{Tag: r.Tag, Data: append([]byte(nil), r.Data...)}
	n.change = h.v.now()
	h.v.notifyNode(ntapi.ActionModified, ntapi.NotifyAttributes, n)
	return nil
}

// DeleteReparse removes it.
func (h *handle) DeleteReparse(tag uint32) error {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	const op = "DeleteReparse"
	if err := h.enter(op, ntapi.AccessWriteAttributes|ntapi.AccessWriteData); err != nil {
		return err
	}
	switch n := h.node; {
	case n.reparse == nil:
		return &ntapi.Error{Op: op, Status: ntapi.StatusNotAReparsePoint}
	case n.reparse.Tag != tag:
		return &ntapi.Error{Op: op, Status: ntapi.StatusReparseTagMismatch}
	}
	h.node.reparse = nil
	h.node.change = h.v.now()
	return nil
}
