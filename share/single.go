package share

import (
	"errors"
	"fmt"
	"sync"

	"github.com/porthole-run/porthole/share/posix"
)

// OneFile returns one file of b's root folder as a backend of its own, whose root is that
// file; name may have any type but a folder's. Nothing else of the folder can be reached.
// When the host replaces the file, the root is the new one, as on the host a name would
// be; handles that are open stay with the old one. While the name is missing, or names what
// is of another type, operations go to the file that it named last: a kernel takes a node
// that changes its type for broken and never asks for it again.
//
// The backend takes over b. It is a Watcher when b is one.
func OneFile(b Backend, name string) Backend {
	s := &single{b: b, name: name, dir: b.Root()}
	s.root = &singleNode{s: s}
	w, ok := b.(Watcher)
	if !ok {
		return s
	}
	return &watchedSingle{single: s, w: w, events: make(chan Event), ended: make(chan struct{})}
}

// single is a Backend of one file.
type single struct {
	b    Backend
	name string
	dir  Node
	root *singleNode

	mu   sync.Mutex // guards the rest
	last Node       // what the name was last, nil when it was never seen
	kind uint32     // type of last
	refs map[Node]int
}

func (s *single) Root() Node         { return s.root }
func (s *single) Features() Features { return s.b.Features() }

func (s *single) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil {
		s.let(s.last)
		s.last = nil
	}
	return s.b.Close()
}

// let ends one use of a node. The caller holds mu.
func (s *single) let(n Node) {
	if s.refs[n]--; s.refs[n] == 0 {
		delete(s.refs, n)
		n.Release()
	}
}

// now returns what the name is, and its attributes; done must be called when it is used
// no more.
func (s *single) now() (n Node, a Attr, done func(), err error) {
	found, a, err := s.dir.Lookup(s.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refs == nil {
		s.refs = make(map[Node]int)
	}
	switch {
	case err == nil && s.last == nil && a.Mode&posix.S_IFMT == posix.S_IFDIR:
		found.Release()
		return nil, Attr{}, nil, fmt.Errorf("look up the shared file: %w", posix.EISDIR)
	case err == nil && s.last != nil && a.Mode&posix.S_IFMT != s.kind:
		found.Release()
		if a, err = s.last.Attr(); err != nil {
			return nil, Attr{}, nil, err
		}
	case err == nil:
		if s.last != nil {
			s.let(s.last)
		}
		s.last, s.kind = found, a.Mode&posix.S_IFMT
		s.refs[found]++
	case s.last == nil || !errors.Is(err, posix.ENOENT):
		return nil, Attr{}, nil, err
	default: // between its removal and its return
		if a, err = s.last.Attr(); err != nil {
			return nil, Attr{}, nil, err
		}
	}
	n = s.last
	s.refs[n]++
	return n, a, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.let(n)
	}, nil
}

// id is what the root is known by: it must stay, whichever file it is.
func (s *single) id() FileID {
	d := s.dir.ID()
	d.High ^= 1 << 63
	return d
}

// real is what the root is on the host, as other sessions know it; zero when it was
// never seen.
func (s *single) real() FileID {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		return FileID{}
	}
	return s.last.ID()
}

// toHost says a guest's change as other sessions know the file.
func (s *single) toHost(c Change) Change {
	if c.File == s.id() {
		c.File = s.real()
	}
	return c
}

// toGuest says another's change as the guest knows the file, if it is one of it.
func (s *single) toGuest(c Change) Change {
	switch {
	case c.Dir == s.dir.ID() && c.Name == s.name: // another file has the name
		return Change{File: s.id(), Len: -1}
	case c.File != (FileID{}) && c.File == s.real():
		c.File = s.id()
	}
	return c
}

// oneFile returns the single that a backend is, or nil.
func oneFile(b Backend) *single {
	switch b := b.(type) {
	case *single:
		return b
	case *watchedSingle:
		return b.single
	}
	return nil
}

// shown gives a file's attributes the identity that stays.
func (s *single) shown(a Attr) Attr {
	a.ID, a.Ino = s.id(), s.dir.ID().File^1<<62
	return a
}

// singleNode is the root of a single. Its operations are those of the file that has the
// name at the time.
type singleNode struct {
	ghost // of folders' operations: there are none in a file
	s     *single
}

func (n *singleNode) ID() FileID { return n.s.id() }

func (n *singleNode) Attr() (Attr, error) {
	_, a, done, err := n.s.now()
	if err != nil {
		return Attr{}, err
	}
	done()
	return n.s.shown(a), nil
}

// with calls f with the file that has the name.
func (n *singleNode) with(f func(Node) error) error {
	file, _, done, err := n.s.now()
	if err != nil {
		return err
	}
	defer done()
	return f(file)
}

func (n *singleNode) SetAttr(set SetAttr) (a Attr, err error) {
	err = n.with(func(f Node) error { a, err = f.SetAttr(set); return err })
	return n.s.shown(a), err
}

func (n *singleNode) StatFS() (st StatFS, err error) {
	err = n.with(func(f Node) error { st, err = f.StatFS(); return err })
	return st, err
}

func (n *singleNode) Readlink() (target string, err error) {
	err = n.with(func(f Node) error { target, err = f.Readlink(); return err })
	return target, err
}

// Open gives the file that has the name now; locks go by its own identity.
func (n *singleNode) Open(flags uint32) (file File, err error) {
	err = n.with(func(f Node) error { file, err = f.Open(flags); return err })
	return file, err
}

func (n *singleNode) OpenDir() (Dir, error) { return nil, posix.ENOTDIR }

func (n *singleNode) Getxattr(name string) (v []byte, err error) {
	err = n.with(func(f Node) error { v, err = f.Getxattr(name); return err })
	return v, err
}

func (n *singleNode) Setxattr(name string, value []byte, flags uint32) error {
	return n.with(func(f Node) error { return f.Setxattr(name, value, flags) })
}

func (n *singleNode) Listxattr() (names []string, err error) {
	err = n.with(func(f Node) error { names, err = f.Listxattr(); return err })
	return names, err
}

func (n *singleNode) Removexattr(name string) error {
	return n.with(func(f Node) error { return f.Removexattr(name) })
}
