package client

import (
	"slices"
	"strings"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// Rights to ask for.
const (
	mayExec = 1 << iota
	mayWrite
	mayRead
)

func (p *proc) root() bool { return p.cred.UID == 0 }

func (p *proc) inGroup(gid uint32) bool {
	return p.cred.GID == gid || slices.Contains(p.cred.Groups, gid)
}

// allowed checks rights as the kernel does for default_permissions.
func (p *proc) allowed(a share.Attr, want uint32) error {
	bits := a.Mode
	switch {
	case p.root():
		if want&mayExec == 0 || a.Mode&posix.S_IFMT == posix.S_IFDIR || a.Mode&0o111 != 0 {
			return nil
		}
		return posix.EACCES
	case p.cred.UID == a.UID:
		bits >>= 6
	case p.inGroup(a.GID):
		bits >>= 3
	}
	if bits&want != want {
		return posix.EACCES
	}
	return nil
}

// may checks rights on a file.
func (p *proc) may(n *inode, want uint32) error {
	if p.root() && n.isDir() {
		return nil
	}
	a, err := p.attr(n, nil)
	if err != nil {
		return err
	}
	return p.allowed(a, want)
}

// sticky tells whether a folder's sticky bit keeps p from a file in it.
func (p *proc) sticky(dir, file share.Attr) bool {
	return dir.Mode&posix.S_ISVTX != 0 && !p.root() && p.cred.UID != dir.UID && p.cred.UID != file.UID
}

// mayDelete checks what unlink, rmdir and rename need of a name.
func (p *proc) mayDelete(dir *inode, file share.Attr, isDir bool) error {
	a, err := p.attr(dir, nil)
	if err != nil {
		return err
	}
	if err := p.allowed(a, mayWrite|mayExec); err != nil {
		return err
	}
	switch fileIsDir := file.Mode&posix.S_IFMT == posix.S_IFDIR; {
	case p.sticky(a, file):
		return posix.EPERM
	case isDir && !fileIsDir:
		return posix.ENOTDIR
	case !isDir && fileIsDir:
		return posix.EISDIR
	}
	return nil
}

// place is the last component of a path, in its folder.
type place struct {
	dir   *inode // with a reference
	name  string
	dots  bool // the name is "." or ".." or the path was only slashes
	slash bool // slashes follow the name
}

// maxLinks is how many symbolic links a path may lead through.
const maxLinks = 40

// walker goes along one path, symbolic links in it included.
type walker struct {
	p     *proc
	links int
}

// parent walks to the folder of a path's last component, from a folder that it takes no
// reference of.
func (w *walker) parent(from *inode, path string) (place, error) {
	switch {
	case path == "":
		return place{}, posix.ENOENT
	case len(path) >= posix.PATH_MAX:
		return place{}, posix.ENAMETOOLONG
	}
	k := w.p.k
	if path[0] == '/' {
		from = k.root
	}
	at := place{dir: k.get(from)}
	rest := strings.TrimLeft(path, "/")
	if rest == "" {
		at.name, at.dots = ".", true
		return at, nil
	}
	for {
		name, more, _ := strings.Cut(rest, "/")
		slash := len(name) < len(rest)
		rest = strings.TrimLeft(more, "/")
		if err := w.p.may(at.dir, mayExec); err != nil {
			k.put(at.dir)
			return place{}, err
		}
		if rest == "" {
			at.name, at.slash, at.dots = name, slash, name == "." || name == ".."
			return at, nil
		}
		next, err := w.step(at.dir, name, true)
		k.put(at.dir)
		if err != nil {
			return place{}, err
		}
		if !next.isDir() {
			k.put(next)
			return place{}, posix.ENOTDIR
		}
		at.dir = next
	}
}

// step goes to a name in a folder, and on through symbolic links when follow is set.
func (w *walker) step(dir *inode, name string, follow bool) (*inode, error) {
	k := w.p.k
	switch name {
	case ".":
		return k.get(dir), nil
	case "..":
		k.mu.Lock()
		defer k.mu.Unlock()
		up := dir
		if dir.parent != nil {
			up = dir.parent
		}
		up.refs++
		return up, nil
	}
	n, _, err := w.p.lookup(dir, name)
	if err != nil || n.kind != posix.S_IFLNK || !follow {
		return n, err
	}
	defer k.put(n)
	target, err := w.target(n)
	if err != nil {
		return nil, err
	}
	return w.resolve(dir, target, true)
}

// target reads a symbolic link that is to be followed.
func (w *walker) target(n *inode) (string, error) {
	if w.links++; w.links > maxLinks {
		return "", posix.ELOOP
	}
	return w.p.readlink(n)
}

func (p *proc) readlink(n *inode) (string, error) {
	d, err := p.k.call(header{fuse.OpReadlink, n.id, p}, bare{})
	if err != nil {
		return "", err
	}
	return string(d.Rest()), nil
}

// resolve walks a whole path.
func (w *walker) resolve(from *inode, path string, follow bool) (*inode, error) {
	at, err := w.parent(from, path)
	if err != nil {
		return nil, err
	}
	defer w.p.k.put(at.dir)
	n, err := w.step(at.dir, at.name, follow || at.slash)
	if err != nil {
		return nil, err
	}
	if at.slash && !n.isDir() {
		w.p.k.put(n)
		return nil, posix.ENOTDIR
	}
	return n, nil
}

// resolve walks a path of the process's.
func (p *proc) resolve(path string, follow bool) (*inode, error) {
	w := walker{p: p}
	return w.resolve(p.cwd, path, follow)
}

// on calls f with the file of a path.
func (p *proc) on(path string, follow bool, f func(n *inode) error) error {
	n, err := p.resolve(path, follow)
	if err != nil {
		return err
	}
	defer p.k.put(n)
	return f(n)
}

// at calls f with the place of a path's last component.
func (p *proc) at(path string, f func(at place) error) error {
	w := walker{p: p}
	at, err := w.parent(p.cwd, path)
	if err != nil {
		return err
	}
	defer p.k.put(at.dir)
	return f(at)
}
