package lock

import (
	"cmp"
	"math/rand/v2"

	"github.com/porthole-run/porthole/share/posix"
)

// tree has the ranges of all owners of a space, to find those that overlap one without
// looking at all: a treap by start, whose nodes know how far the ranges below them reach.
type tree struct{ root *node }

type node struct {
	span
	who         ownerKey
	priority    uint32 // no child's is higher
	left, right *node
	// One past the furthest end of the ranges here and below, of all and of those that
	// are locked for writing; 0 for none.
	reach, reachWrite uint64
}

// compare orders by start, then by owner: an owner has one range with a start.
func (n *node) compare(who ownerKey, start uint64) int {
	return cmp.Or(cmp.Compare(start, n.start), cmp.Compare(who.session.id, n.who.session.id), cmp.Compare(who.owner, n.who.owner))
}

func (n *node) update() {
	n.reach, n.reachWrite = n.end+1, 0
	if n.typ == posix.F_WRLCK {
		n.reachWrite = n.end + 1
	}
	for _, c := range []*node{n.left, n.right} {
		if c != nil {
			n.reach, n.reachWrite = max(n.reach, c.reach), max(n.reachWrite, c.reachWrite)
		}
	}
}

func (t *tree) insert(who ownerKey, s span) {
	n := &node{span: s, who: who, priority: rand.Uint32()}
	n.update()
	t.root = t.root.insert(n)
}

func (n *node) insert(x *node) *node {
	switch {
	case n == nil:
		return x
	case x.priority > n.priority:
		x.left, x.right = n.split(x.who, x.start)
		x.update()
		return x
	case n.compare(x.who, x.start) < 0:
		n.left = n.left.insert(x)
	default:
		n.right = n.right.insert(x)
	}
	n.update()
	return n
}

// split parts what is before a place from what is after it.
func (n *node) split(who ownerKey, start uint64) (before, after *node) {
	if n == nil {
		return nil, nil
	}
	if n.compare(who, start) < 0 {
		before, n.left = n.left.split(who, start)
		n.update()
		return before, n
	}
	n.right, after = n.right.split(who, start)
	n.update()
	return n, after
}

func (t *tree) remove(who ownerKey, s span) { t.root = t.root.remove(who, s.start) }

func (n *node) remove(who ownerKey, start uint64) *node {
	if n == nil {
		return nil
	}
	switch c := n.compare(who, start); {
	case c == 0:
		return join(n.left, n.right)
	case c < 0:
		n.left = n.left.remove(who, start)
	default:
		n.right = n.right.remove(who, start)
	}
	n.update()
	return n
}

// join puts two trees together, all of a before all of b.
func join(a, b *node) *node {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority > b.priority:
		a.right = join(a.right, b)
		a.update()
		return a
	default:
		b.left = join(a, b.left)
		b.update()
		return b
	}
}

// overlaps calls f with each range, or each that is locked for writing, that has a byte
// in common with start to end, by their starts, until f returns false.
func (n *node) overlaps(start, end uint64, writesOnly bool, f func(*node) bool) bool {
	if n == nil || n.reach <= start || writesOnly && n.reachWrite <= start {
		return true
	}
	if !n.left.overlaps(start, end, writesOnly, f) {
		return false
	}
	if n.start > end {
		return true // as is all that is to the right
	}
	if n.end >= start && (!writesOnly || n.typ == posix.F_WRLCK) && !f(n) {
		return false
	}
	return n.right.overlaps(start, end, writesOnly, f)
}
