package client

import (
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// absent returns nil when a new name can be made at a place.
func (p *proc) absent(at place, folder bool) error {
	if at.dots {
		return posix.EEXIST
	}
	switch n, _, err := p.lookup(at.dir, at.name); {
	case err == nil:
		p.k.put(n)
		return posix.EEXIST
	case err != posix.ENOENT:
		return err
	}
	if at.slash && !folder {
		return posix.ENOENT
	}
	if at.dir.isDead(p.k) {
		return posix.ENOENT
	}
	return p.may(at.dir, mayWrite|mayExec)
}

func (n *inode) isDead(k *Kernel) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return n.dead
}

// create makes a name with one request that answers with an entry.
func (p *proc) create(path string, folder bool, op fuse.Opcode, body appender, tail func(name string) [][]byte) error {
	return p.at(path, func(at place) error {
		if err := p.absent(at, folder); err != nil {
			return err
		}
		d, err := p.k.call(header{op, at.dir.id, p}, body, tail(at.name)...)
		if err != nil {
			return err
		}
		n, _, err := p.k.entry(at.dir, &d)
		if err == nil {
			p.k.put(n)
		}
		return err
	})
}

func justName(name string) [][]byte { return [][]byte{named(name)} }

// Mkdir implements card.Proc.
func (p *proc) Mkdir(path string, mode uint32) error {
	mode &= 0o1777 &^ p.cred.Umask // mkdir(2) makes no set-id folders of its own
	return p.create(path, true, fuse.OpMkdir, fuse.MkdirIn{Mode: mode, Umask: p.cred.Umask}, justName)
}

// Mknod implements card.Proc.
func (p *proc) Mknod(path string, mode, dev uint32) error {
	switch mode & posix.S_IFMT {
	case posix.S_IFCHR, posix.S_IFBLK:
		if !p.root() {
			return posix.EPERM
		}
	default:
		dev = 0
	}
	mode &^= p.cred.Umask
	return p.create(path, false, fuse.OpMknod, fuse.MknodIn{Mode: mode, Rdev: dev, Umask: p.cred.Umask}, justName)
}

// Symlink implements card.Proc.
func (p *proc) Symlink(target, path string) error {
	switch {
	case target == "":
		return posix.ENOENT
	case len(target) >= posix.PATH_MAX:
		return posix.ENAMETOOLONG
	}
	return p.create(path, false, fuse.OpSymlink, bare{}, func(name string) [][]byte {
		return [][]byte{named(name), named(target)}
	})
}

// Link implements card.Proc.
func (p *proc) Link(old, path string) error {
	return p.on(old, false, func(n *inode) error {
		a, err := p.attr(n, nil)
		if err != nil {
			return err
		}
		return p.linkInode(n, a, path, false)
	})
}

// linkInode links what is not gone.
func (p *proc) linkInode(n *inode, a share.Attr, path string, gone bool) error {
	return p.at(path, func(at place) error {
		if err := p.absent(at, false); err != nil {
			return err
		}
		switch {
		case n.isDir():
			return posix.EPERM
		case gone:
			return posix.ENOENT
		}
		d, err := p.k.call(header{fuse.OpLink, at.dir.id, p}, fuse.LinkIn{OldNodeID: n.id}, named(at.name))
		if err != nil {
			return err
		}
		again, got, err := p.k.entry(at.dir, &d)
		if err != nil {
			return err
		}
		defer p.k.put(again)
		if again != n || got.Nlink != a.Nlink+1 {
			return posix.EIO // the server gave another file, or a wrong count
		}
		return nil
	})
}

// Readlink implements card.Proc.
func (p *proc) Readlink(path string) (target string, err error) {
	err = p.on(path, false, func(n *inode) error {
		if n.kind != posix.S_IFLNK {
			return posix.EINVAL
		}
		target, err = p.readlink(n)
		return err
	})
	return target, err
}

// Unlink implements card.Proc.
func (p *proc) Unlink(path string) error {
	return p.at(path, func(at place) error {
		if at.dots {
			return posix.EISDIR
		}
		n, a, err := p.lookup(at.dir, at.name)
		if err != nil {
			return err
		}
		defer p.k.put(n)
		if at.slash {
			if n.isDir() {
				return posix.EISDIR
			}
			return posix.ENOTDIR
		}
		if err := p.mayDelete(at.dir, a, false); err != nil {
			return err
		}
		_, err = p.k.call(header{fuse.OpUnlink, at.dir.id, p}, bare{}, named(at.name))
		return err
	})
}

// Rmdir implements card.Proc.
func (p *proc) Rmdir(path string) error {
	return p.at(path, func(at place) error {
		switch {
		case at.name == ".":
			return posix.EINVAL
		case at.dots:
			return posix.ENOTEMPTY
		}
		n, a, err := p.lookup(at.dir, at.name)
		if err != nil {
			return err
		}
		defer p.k.put(n)
		if err := p.mayDelete(at.dir, a, true); err != nil {
			return err
		}
		if _, err = p.k.call(header{fuse.OpRmdir, at.dir.id, p}, bare{}, named(at.name)); err == nil {
			p.k.kill(n)
		}
		return err
	})
}

// kill marks a folder that is no more.
func (k *Kernel) kill(n *inode) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n.dead = n.isDir()
}

// within tells whether a folder is another one or below it.
func (k *Kernel) within(n, top *inode) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for ; n != nil; n = n.parent {
		if n == top {
			return true
		}
	}
	return false
}

// Rename implements card.Proc.
func (p *proc) Rename(old, path string, flags uint32) error {
	const known = posix.RENAME_NOREPLACE | posix.RENAME_EXCHANGE | posix.RENAME_WHITEOUT
	if flags&^known != 0 || flags&posix.RENAME_EXCHANGE != 0 && flags&^posix.RENAME_EXCHANGE != 0 {
		return posix.EINVAL
	}
	return p.at(old, func(from place) error {
		return p.at(path, func(to place) error { return p.rename(from, to, flags) })
	})
}

func (p *proc) rename(from, to place, flags uint32) error {
	exchange, noreplace := flags&posix.RENAME_EXCHANGE != 0, flags&posix.RENAME_NOREPLACE != 0
	switch {
	case from.dots, to.dots && !noreplace:
		return posix.EBUSY
	case to.dots:
		return posix.EEXIST
	}
	n, a, err := p.lookup(from.dir, from.name)
	if err != nil {
		return err
	}
	defer p.k.put(n)
	over, overAttr, err := p.lookup(to.dir, to.name)
	switch {
	case err == nil:
		defer p.k.put(over)
	case err != posix.ENOENT || exchange:
		return err
	}
	switch {
	case over != nil && noreplace:
		return posix.EEXIST
	case !n.isDir() && (from.slash || to.slash && !exchange), exchange && to.slash && !over.isDir():
		return posix.ENOTDIR
	case n.isDir() && p.k.within(to.dir, n):
		return posix.EINVAL
	case over != nil && over.isDir() && p.k.within(from.dir, over):
		if exchange {
			return posix.EINVAL
		}
		return posix.ENOTEMPTY
	case n == over:
		return nil
	}
	if err := p.mayRename(from, to, n, a, over, overAttr, exchange); err != nil {
		return err
	}
	if flags == 0 {
		_, err = p.k.call(header{fuse.OpRename, from.dir.id, p}, fuse.RenameIn{NewDir: to.dir.id}, named(from.name), named(to.name))
	} else {
		_, err = p.k.call(header{fuse.OpRename2, from.dir.id, p}, fuse.Rename2In{NewDir: to.dir.id, Flags: flags}, named(from.name), named(to.name))
	}
	if err != nil {
		return err
	}
	p.k.move(n, to.dir)
	switch {
	case exchange:
		p.k.move(over, from.dir)
	case over != nil:
		p.k.kill(over)
	}
	return nil
}

// mayRename checks the rights that a rename needs.
func (p *proc) mayRename(from, to place, n *inode, a share.Attr, over *inode, overAttr share.Attr, exchange bool) error {
	if err := p.mayDelete(from.dir, a, n.isDir()); err != nil {
		return err
	}
	switch {
	case over == nil:
		if to.dir.isDead(p.k) {
			return posix.ENOENT
		}
		if err := p.may(to.dir, mayWrite|mayExec); err != nil {
			return err
		}
	case exchange:
		if err := p.mayDelete(to.dir, overAttr, over.isDir()); err != nil {
			return err
		}
	default:
		if err := p.mayDelete(to.dir, overAttr, n.isDir()); err != nil {
			return err
		}
	}
	if from.dir == to.dir {
		return nil
	}
	// A folder that moves has its ".." changed.
	if n.isDir() {
		if err := p.allowed(a, mayWrite); err != nil {
			return err
		}
	}
	if exchange && over.isDir() {
		return p.allowed(overAttr, mayWrite)
	}
	return nil
}
