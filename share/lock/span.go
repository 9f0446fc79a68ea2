package lock

import (
	"sort"

	"github.com/porthole-run/porthole/share/posix"
)

// span is a range that an owner has locked. An owner's are sorted, do not overlap, and
// do not touch one of the same type.
type span struct {
	start, end uint64 // end included
	typ        uint32
	pid        uint32
}

// splice says how an owner's ranges change by a lock or unlock: held[i:j] become repl.
func splice(held []span, want span) (i, j int, repl []span) {
	// Neighbours count: one of the same type becomes one with want.
	before, after := want.start, want.end
	if before > 0 {
		before--
	}
	if after < MaxOffset {
		after++
	}
	i = sort.Search(len(held), func(k int) bool { return held[k].end >= before })
	j = i + sort.Search(len(held)-i, func(k int) bool { return held[i+k].start > after })
	merged := want
	var left, right []span
	for _, h := range held[i:j] {
		if h.typ == want.typ {
			merged.start, merged.end = min(merged.start, h.start), max(merged.end, h.end)
			continue
		}
		if h.start < want.start {
			rest := h
			rest.end = min(h.end, want.start-1)
			left = append(left, rest)
		}
		if h.end > want.end {
			rest := h
			rest.start = max(h.start, want.end+1)
			right = append(right, rest)
		}
	}
	repl = left
	if want.typ != posix.F_UNLCK {
		repl = append(repl, merged)
	}
	return i, j, append(repl, right...)
}
