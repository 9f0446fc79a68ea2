package ntfake

import (
	"maps"
	"slices"

	"github.com/porthole-run/porthole/share/ntfs/ntapi"
)

func (v *Volume) free() int64 { return max(v.cfg.Units-v.used, 0) }

func ceil(n, by int64) int64 { return (n + by - 1) / by }

// units returns how many the content takes: a sparse file what was written, others all up
// to their end.
func (n *node) units() int64 {
	if n.attributes&ntapi.AttributeSparse != 0 {
		return max(int64(len(n.pages))*(pageSize/unitSize), ceil(n.reserved, unitSize))
	}
	return ceil(max(n.size, n.reserved), unitSize)
}

// change makes a change of content's extent; one that the volume has no room for is
// taken back.
func (v *Volume) change(n *node, do, back func()) ntapi.Status {
	before := n.units()
	do()
	if more := n.units() - before; more > 0 && more > v.free() {
		back()
		return ntapi.StatusDiskFull
	}
	v.used += n.units() - before
	return ntapi.StatusSuccess
}

// wrote notes that a handle changed content: its times come with its close.
func (h *handle) wrote(sized bool) {
	if !h.hold {
		h.owed = h.v.now()
	}
	if sized {
		h.v.notifyNode(ntapi.ActionModified, ntapi.NotifySize, h.node)
	}
}

// ReadAt reads.
func (h *handle) ReadAt(b []byte, off int64) (int, error) {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	if err := h.enter("ReadAt", ntapi.AccessReadData); err != nil {
		return 0, err
	}
	n := h.node
	if n.dir() {
		return 0, &ntapi.Error{Op: "ReadAt", Status: ntapi.StatusInvalidDeviceRequest}
	}
	if off >= n.size {
		return 0, nil
	}
	b = b[:min(int64(len(b)), n.size-off)]
	for done := 0; done < len(b); {
		at := off + int64(done)
		part := b[done:min(int64(len(b)), int64(done)+pageSize-at%pageSize)]
		clear(part)
		if page := n.pages[at/pageSize]; int64(len(page)) > at%pageSize {
			copy(part, page[at%pageSize:])
		}
		done += len(part)
	}
	return len(b), nil
}

// WriteAt writes; on a full volume as much as there is room for.
func (h *handle) WriteAt(b []byte, off int64) (int, error) {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	if err := h.enter("WriteAt", ntapi.AccessWriteData|ntapi.AccessAppendData); err != nil {
		return 0, err
	}
	n := h.node
	if off == ntapi.AppendOffset {
		off = n.size
	}
	if off < 0 {
		return 0, &ntapi.Error{Op: "WriteAt", Status: ntapi.StatusInvalidParameter}
	}
	sized := off+int64(len(b)) > n.size
	done := 0
	for done < len(b) {
		at := off + int64(done)
		part := b[done:min(int64(len(b)), int64(done)+pageSize-at%pageSize)]
		if s := h.v.put(n, part, at); s != ntapi.StatusSuccess {
			if done > 0 {
				h.wrote(sized)
			}
			return done, &ntapi.Error{Op: "WriteAt", Status: s}
		}
		done += len(part)
	}
	h.wrote(sized)
	return done, nil
}

// put writes within one page.
func (v *Volume) put(n *node, b []byte, at int64) ntapi.Status {
	number, from := at/pageSize, at%pageSize
	page, there := n.pages[number]
	size := n.size
	status := v.change(n, func() {
		if !there {
			n.pages[number] = []byte{}
		}
		n.size = max(n.size, at+int64(len(b)))
	}, func() {
		if !there {
			delete(n.pages, number)
		}
		n.size = size
	})
	if status != ntapi.StatusSuccess {
		return status
	}
	if need := from + int64(len(b)); int64(len(page)) < need {
		page = append(page, make([]byte, need-int64(len(page)))...)
	}
	copy(page[from:], b)
	n.pages[number] = page
	return ntapi.StatusSuccess
}

// Flush has nothing to do: what is in memory is as durable as it gets.
func (h *handle) Flush(uint32) error {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	return h.enter("Flush", ntapi.AccessWriteData|ntapi.AccessAppendData)
}

// SetEndOfFile sets the size.
func (h *handle) SetEndOfFile(size int64) error {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	const op = "SetEndOfFile"
	if err := h.enter(op, ntapi.AccessWriteData); err != nil {
		return err
	}
	n := h.node
	const most = 16<<40 - 64<<10 // NTFS with units of 4 KiB
	switch {
	case n.dir() || size < 0:
		return &ntapi.Error{Op: op, Status: ntapi.StatusInvalidParameter}
	case size > most:
		return &ntapi.Error{Op: op, Status: ntapi.StatusFileTooLarge}
	case n.mapped && size < n.size:
		return &ntapi.Error{Op: op, Status: ntapi.StatusUserMappedFile}
	}
	if s := h.v.resize(n, size); s != ntapi.StatusSuccess {
		return &ntapi.Error{Op: op, Status: s}
	}
	h.wrote(true)
	return nil
}

func (v *Volume) resize(n *node, size int64) ntapi.Status {
	old, reserved := n.size, n.reserved
	return v.change(n, func() {
		n.size = size
		if size < old {
			n.reserved = 0
			n.cut(size)
		}
	}, func() { n.size, n.reserved = old, reserved })
}

// cut drops content past a size.
func (n *node) cut(size int64) {
	for number, page := range n.pages {
		switch start := number * pageSize; {
		case start >= size:
			delete(n.pages, number)
		case start+int64(len(page)) > size:
			n.pages[number] = slices.Clip(page[:size-start])
		}
	}
}

// SetAllocation reserves, or truncates when it is less than the size.
func (h *handle) SetAllocation(size int64) error {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	const op = "SetAllocation"
	if err := h.enter(op, ntapi.AccessWriteData); err != nil {
		return err
	}
	n := h.node
	if size < n.size {
		if s := h.v.resize(n, size); s != ntapi.StatusSuccess {
			return &ntapi.Error{Op: op, Status: s}
		}
		h.wrote(true)
		return nil
	}
	old := n.reserved
	s := h.v.change(n, func() { n.reserved = size }, func() { n.reserved = old })
	if s != ntapi.StatusSuccess {
		return &ntapi.Error{Op: op, Status: s}
	}
	return nil
}

// SetSparse makes the file sparse. What it took before it keeps.
func (h *handle) SetSparse() error {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	if err := h.enter("SetSparse", ntapi.AccessWriteData); err != nil {
		return err
	}
	n := h.node
	if n.attributes&ntapi.AttributeSparse != 0 {
		return nil
	}
	s := h.v.change(n, func() {
		for number := range ceil(n.size, pageSize) {
			if n.pages[number] == nil {
				n.pages[number] = []byte{}
			}
		}
		n.attributes |= ntapi.AttributeSparse
	}, func() { n.attributes &^= ntapi.AttributeSparse })
	if s != ntapi.StatusSuccess {
		return &ntapi.Error{Op: "SetSparse", Status: s}
	}
	return nil
}

// ZeroData zeroes a range; a sparse file gives whole pages back.
func (h *handle) ZeroData(off, end int64) error {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	if err := h.enter("ZeroData", ntapi.AccessWriteData); err != nil {
		return err
	}
	n := h.node
	if off < 0 || end < off {
		return &ntapi.Error{Op: "ZeroData", Status: ntapi.StatusInvalidParameter}
	}
	before := n.units()
	for number, page := range n.pages {
		start := number * pageSize
		from, to := max(off-start, 0), min(end-start, pageSize)
		switch {
		case from >= to:
		case from == 0 && (to == pageSize || start+to >= n.size):
			delete(n.pages, number)
		case from < int64(len(page)):
			clear(page[from:min(to, int64(len(page)))])
		}
	}
	n.reserved = 0
	h.v.used += n.units() - before
	h.wrote(false)
	return nil
}

// AllocatedRanges returns where data may be.
func (h *handle) AllocatedRanges(off, length int64) ([]ntapi.Range, error) {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	if err := h.enter("AllocatedRanges", ntapi.AccessReadData); err != nil {
		return nil, err
	}
	n := h.node
	end := min(off+length, n.size)
	if off >= end {
		return nil, nil
	}
	if n.attributes&ntapi.AttributeSparse == 0 {
		return []ntapi.Range{{Offset: off, Length: end - off}}, nil
	}
	var all []ntapi.Range
	for _, number := range slices.Sorted(maps.Keys(n.pages)) {
		from, to := max(number*pageSize, off), min((number+1)*pageSize, end)
		switch last := len(all) - 1; {
		case from >= to:
		case last >= 0 && all[last].Offset+all[last].Length == from:
			all[last].Length += to - from
		default:
			all = append(all, ntapi.Range{Offset: from, Length: to - from})
		}
	}
	return all, nil
}
