package withdrawn

// kept bounds a Set. A call and the removal that passes it are milliseconds apart, in which
// so many other removals that find nothing do not come.
const kept = 1024

// Set is names in the order in which they were noted, of which the oldest are forgotten. The
// zero Set is empty.
type Set struct {
	there map[string]bool
	order []string // a ring once it is full
	next  int      // in order: the oldest
}

// Note notes a name.
func (s *Set) Note(name string) {
	if s.there[name] {
		return
	}
	if s.there == nil {
		s.there = map[string]bool{}
	}
	s.there[name] = true
	if len(s.order) < kept {
		s.order = append(s.order, name)
		return
	}
	delete(s.there, s.order[s.next])
	s.order[s.next] = name
	s.next = (s.next + 1) % kept
}

// Has tells whether a name was noted: what has it must not be made.
func (s *Set) Has(name string) bool { return s.there[name] }
