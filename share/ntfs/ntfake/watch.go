package ntfake

import (
	"slices"
	"strings"

	"github.com/porthole-run/porthole/share/ntfs/ntapi"
)

// watch is a directory's list of notices that nobody has read yet.
type watch struct {
	v      *Volume
	dir    *node
	filter uint32

	// Guarded by v.mu.
	changes  []ntapi.Change
	overflow bool
	ended    bool
	wake     chan struct{} // closed and renewed with each notice
	waiting  int           // calls of ReadChanges that wait
}

func nameFilter(n *node) uint32 {
	if n.dir() {
		return ntapi.NotifyDirName
	}
	return ntapi.NotifyFileName
}

// notify tells the watches above a name.
func (v *Volume) notify(action, filter uint32, l *link) {
	for _, w := range v.watches {
		name, ok := w.relative(l)
		if !ok || w.filter&filter == 0 {
			continue
		}
		w.add(ntapi.Change{
			Action: action, Name: name, Attributes: l.node.attributes,
			ID: ntapi.FileID{Low: l.node.id}, Parent: ntapi.FileID{Low: l.parent.id},
		}, v.cfg.Notices)
	}
}

// notifyNode tells of a change that has no name of its own: by the file's first.
func (v *Volume) notifyNode(action, filter uint32, n *node) {
	if len(n.links) > 0 {
		v.notify(action, filter, n.links[0])
	}
}

func (w *watch) relative(l *link) (string, bool) {
	names := []string{l.name}
	for dir := l.parent; dir != w.dir; dir = dir.links[0].parent {
		if len(dir.links) == 0 {
			return "", false
		}
		names = append(names, dir.links[0].name)
	}
	slices.Reverse(names)
	return strings.Join(names, `\`), true
}

func (w *watch) add(c ntapi.Change, most int) {
	if len(w.changes) >= most {
		w.changes, w.overflow = nil, true
	}
	if !w.overflow {
		w.changes = append(w.changes, c)
	}
	close(w.wake)
	w.wake = make(chan struct{})
}

func (w *watch) end() {
	w.ended = true
	w.v.watches = slices.DeleteFunc(w.v.watches, func(o *watch) bool { return o == w })
	close(w.wake)
	w.wake = make(chan struct{})
}

// ReadChanges waits for notices.
func (h *handle) ReadChanges(filter uint32, noted func()) ([]ntapi.Change, error) {
	const op = "ReadChanges"
	v := h.v
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := h.enter(op, ntapi.AccessReadData); err != nil {
		return nil, err
	}
	if h.watch == nil {
		h.watch = &watch{v: v, dir: h.node, filter: filter, wake: make(chan struct{})}
		v.watches = append(v.watches, h.watch)
	}
	if noted != nil {
		noted()
	}
	w := h.watch
	for len(w.changes) == 0 && !w.overflow && !w.ended {
		wake := w.wake
		w.waiting++
		v.mu.Unlock()
		<-wake
		v.mu.Lock()
		w.waiting--
	}
	switch {
	case w.ended:
		return nil, &ntapi.Error{Op: op, Status: ntapi.StatusNotifyCleanup}
	case w.overflow:
		w.overflow = false
		return nil, &ntapi.Error{Op: op, Status: ntapi.StatusNotifyEnumDir}
	}
	some := w.changes
	w.changes = nil
	return some, nil
}
