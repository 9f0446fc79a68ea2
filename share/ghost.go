package share

import (
	"sync/atomic"

	"github.com/porthole-run/porthole/share/posix"
)

// A ghost is a file that is gone and that the guest had never heard of. It stands in
// while the guest's kernel is made to see it go.
type ghost struct{ attr Attr }

var ghosts atomic.Uint64

func newGhost(typ uint32) *ghost {
	n := ghosts.Add(1)
	return &ghost{Attr{ID: FileID{Volume: 1<<64 - 1, File: n, High: 1<<64 - 1}, Ino: 1<<63 | n,
		Mode: typ | 0o600, Nlink: 1, BlockSize: 4096}}
}

func (g *ghost) ID() FileID                      { return g.attr.ID }
func (g *ghost) Attr() (Attr, error)             { return g.attr, nil }
func (g *ghost) SetAttr(SetAttr) (Attr, error)   { return Attr{}, posix.ESTALE }
func (g *ghost) StatFS() (StatFS, error)         { return StatFS{}, posix.ESTALE }
func (g *ghost) Release()                        {}
func (g *ghost) Link(string, Node) (Attr, error) { return Attr{}, posix.ENOENT }
func (g *ghost) Unlink(string) error             { return posix.ENOENT }
func (g *ghost) Rmdir(string) error              { return posix.ENOENT }
func (g *ghost) Readlink() (string, error)       { return "", posix.ESTALE }
func (g *ghost) Open(uint32) (File, error)       { return nil, posix.ESTALE }
func (g *ghost) OpenDir() (Dir, error)           { return nil, posix.ESTALE }
func (g *ghost) Getxattr(string) ([]byte, error) { return nil, posix.ENODATA }
func (g *ghost) Listxattr() ([]string, error)    { return nil, nil }
func (g *ghost) Removexattr(string) error        { return posix.ENODATA }

func (g *ghost) Lookup(string) (Node, Attr, error)         { return nil, Attr{}, posix.ENOENT }
func (g *ghost) Mkdir(string, New) (Node, Attr, error)     { return nil, Attr{}, posix.ENOENT }
func (g *ghost) Mknod(string, New) (Node, Attr, error)     { return nil, Attr{}, posix.ENOENT }
func (g *ghost) Setxattr(string, []byte, uint32) error     { return posix.ESTALE }
func (g *ghost) Rename(string, Node, string, uint32) error { return posix.ENOENT }

func (g *ghost) Symlink(string, string, Owner) (Node, Attr, error) {
	return nil, Attr{}, posix.ENOENT
}

func (g *ghost) Create(string, uint32, New) (Node, File, Attr, error) {
	return nil, nil, Attr{}, posix.ENOENT
}

func (g *ghost) Tmpfile(uint32, New) (Node, File, Attr, error) {
	return nil, nil, Attr{}, posix.ENOENT
}
