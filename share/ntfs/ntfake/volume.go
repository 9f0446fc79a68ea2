package ntfake

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/porthole-run/porthole/share/ntfs/ntapi"
)

const (
	unitSize = 4096
	pageSize = 16 * unitSize // what a sparse file gets and gives back at a time
	maxLinks = 1024
	rootID   = 5
)

// Config says what a volume is like. The zero value is a usual one.
type Config struct {
	Clock        func() ntapi.Time // the system's clock when nil
	Units        int64             // of 4096 bytes; 1 Mi when 0
	NoShortNames bool              // makes no 8.3 aliases
	CaseFlag     ntapi.Status      // what setting a directory's case flag is refused with
	FileSystem   string            // "NTFS" when empty
	Notices      int               // how many a watch keeps unread; 1024 when 0
}

// Call is a call that is about to be made on a volume.
type Call struct {
	Op string // the Handle's method
	N  int    // its number, from 1, since SetHook
}

// Volume is one volume. Make it with New.
type Volume struct {
	cfg Config // immutable after New

	mu       sync.Mutex // guards all below, and all of nodes, links, handles and watches
	nodes    map[uint64]*node
	root     *node
	nextID   uint64
	used     int64
	calls    int
	hook     func(Call) ntapi.Status
	watches  []*watch
	lastTime ntapi.Time
}

// node is a file's record.
type node struct {
	id                              uint64
	attributes                      uint32
	creation, access, write, change ntapi.Time
	eas                             map[string][]byte
	reparse                         *ntapi.Reparse
	links                           []*link
	children                        []*link // of a directory, in the order of its index
	caseFlag                        bool
	pages                           map[int64][]byte
	size, reserved                  int64
	handles                         map[*handle]struct{}
	deletePending                   bool // goes with its last handle
	mapped                          bool // a program runs from it
}

// link is a name in a directory.
type link struct {
	name, short  string
	parent, node *node
	deleting     *handle // removes the name when it closes
}

// New makes an empty volume.
func New(c Config) *Volume {
	if c.Clock == nil {
		c.Clock = ntapi.Now
	}
	if c.Units == 0 {
		c.Units = 1 << 20
	}
	if c.FileSystem == "" {
		c.FileSystem = "NTFS"
	}
	if c.Notices == 0 {
		c.Notices = 1024
	}
	v := &Volume{cfg: c, nodes: map[uint64]*node{}, nextID: rootID}
	v.root = v.newNode(ntapi.AttributeDirectory)
	return v
}

// SetHook has f asked before each call but Close, with calls counted anew; what is not
// success is the call's answer. nil asks nobody.
func (v *Volume) SetHook(f func(Call) ntapi.Status) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hook, v.calls = f, 0
}

// SetMapped says whether a program runs from the file: it cannot be deleted or truncated.
func (v *Volume) SetMapped(path string, mapped bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	l, err := v.resolve(path)
	if err != nil {
		return err
	}
	l.node.mapped = mapped
	return nil
}

// Handles returns how many handles are open.
func (v *Volume) Handles() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := 0
	for _, f := range v.nodes {
		n += len(f.handles)
	}
	return n
}

// String prints the tree: names with size, type, attributes and open handles, and files
// that have no name any more.
func (v *Volume) String() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var b strings.Builder
	describe(&b, `\`, v.root)
	var walk func(n *node, at string)
	walk = func(n *node, at string) {
		sorted := slices.Clone(n.children)
		slices.SortFunc(sorted, func(a, b *link) int { return strings.Compare(a.name, b.name) })
		for _, l := range sorted {
			describe(&b, at+l.name, l.node)
			walk(l.node, at+l.name+`\`)
		}
	}
	walk(v.root, `\`)
	nameless := 0
	for _, n := range v.nodes {
		if len(n.links) == 0 && n != v.root {
			nameless++
		}
	}
	if nameless > 0 {
		fmt.Fprintf(&b, "%d without a name\n", nameless)
	}
	return b.String()
}

func describe(b *strings.Builder, path string, n *node) {
	fmt.Fprintf(b, "%s", strings.ToValidUTF8(path, "?"))
	switch {
	case n.dir() && n.caseFlag:
		b.WriteString(" dir case")
	case n.dir():
		b.WriteString(" dir")
	default:
		fmt.Fprintf(b, " %d", n.size)
	}
	if len(n.links) > 1 {
		fmt.Fprintf(b, " links=%d", len(n.links))
	}
	if n.reparse != nil {
		fmt.Fprintf(b, " tag=%08X:%q", n.reparse.Tag, n.reparse.Data)
	}
	if n.attributes&ntapi.AttributeReadonly != 0 {
		b.WriteString(" readonly")
	}
	for _, name := range slices.Sorted(mapKeys(n.eas)) {
		fmt.Fprintf(b, " %s=%x", name, n.eas[name])
	}
	if n.deletePending {
		b.WriteString(" deleting")
	}
	if len(n.handles) > 0 {
		fmt.Fprintf(b, " handles=%d", len(n.handles))
	}
	b.WriteByte('\n')
}

func mapKeys(m map[string][]byte) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (n *node) dir() bool { return n.attributes&ntapi.AttributeDirectory != 0 }

func (v *Volume) newNode(attributes uint32) *node {
	now := v.now()
	n := &node{
		id: v.nextID, attributes: attributes,
		creation: now, access: now, write: now, change: now,
		eas: map[string][]byte{}, pages: map[int64][]byte{}, handles: map[*handle]struct{}{},
	}
	v.nextID += 1<<48 + 1 // a sequence number above the record's, as NTFS has
	v.nodes[n.id] = n
	v.used++ // its record
	return n
}

// now is the clock, which no call sees going backwards.
func (v *Volume) now() ntapi.Time {
	v.lastTime = max(v.lastTime, v.cfg.Clock())
	return v.lastTime
}

// begin asks the hook.
func (v *Volume) begin(op string) error {
	v.calls++
	if v.hook != nil {
		if s := v.hook(Call{op, v.calls}); s != ntapi.StatusSuccess {
			return &ntapi.Error{Op: op, Status: s}
		}
	}
	return nil
}

// reap frees a file that has neither name nor handle.
func (v *Volume) reap(n *node) {
	if n == v.root || len(n.links) > 0 || len(n.handles) > 0 {
		return
	}
	if _, there := v.nodes[n.id]; there {
		v.used -= n.units() + 1
		delete(v.nodes, n.id)
	}
}

// below tells whether any handle is open to what is under a directory.
func (v *Volume) below(dir *node) bool {
	for _, l := range dir.children {
		if len(l.node.handles) > 0 || v.below(l.node) {
			return true
		}
	}
	return false
}

// touch moves a directory's times, since its entries changed.
func (v *Volume) touch(dir *node) {
	dir.write = v.now()
	dir.change = dir.write
}

// path returns the path of a link from the volume's root.
func path(l *link) string {
	if l == nil {
		return `\`
	}
	if len(l.parent.links) == 0 {
		return `\` + l.name
	}
	return path(l.parent.links[0]) + `\` + l.name
}
