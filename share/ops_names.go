package share

import (
	"context"

	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

func (s *Session) mknod(ctx context.Context, r *request) error {
	var m fuse.MknodIn
	m.Decode(&r.d)
	base, err := r.last()
	if err != nil {
		return err
	}
	switch m.Mode & posix.S_IFMT {
	case posix.S_IFREG, posix.S_IFIFO, posix.S_IFSOCK, posix.S_IFCHR, posix.S_IFBLK:
	case 0:
		m.Mode |= posix.S_IFREG
	default:
		return posix.EINVAL
	}
	return s.make(ctx, r, base, func(dir Node) (Node, Attr, error) {
		return dir.Mknod(base, New{Mode: m.Mode, Rdev: m.Rdev, Owner: r.owner()})
	})
}

func (s *Session) mkdir(ctx context.Context, r *request) error {
	var m fuse.MkdirIn
	m.Decode(&r.d)
	base, err := r.last()
	if err != nil {
		return err
	}
	return s.make(ctx, r, base, func(dir Node) (Node, Attr, error) {
		return dir.Mkdir(base, New{Mode: posix.S_IFDIR | m.Mode&posix.ModeMask, Owner: r.owner()})
	})
}

func (s *Session) symlink(ctx context.Context, r *request) error {
	base, target := r.d.Name(), r.d.Name()
	if err := r.d.End(); err != nil {
		return err
	}
	if err := checkName(base); err != nil {
		return err
	}
	if target == "" {
		return posix.ENOENT
	}
	if len(target) >= posix.PATH_MAX {
		return posix.ENAMETOOLONG
	}
	return s.make(ctx, r, base, func(dir Node) (Node, Attr, error) {
		return dir.Symlink(base, target, r.owner())
	})
}

// make answers with a file that it makes under a name of the request's folder.
func (s *Session) make(ctx context.Context, r *request, base string, do func(dir Node) (Node, Attr, error)) error {
	if !r.node.isDir() {
		return posix.ENOTDIR
	}
	done := s.echo(r.node, base, echoCreate)
	h, a, err := do(r.node.n)
	done()
	if err != nil {
		return err
	}
	s.made(&a)
	s.changed(ctx, r.node, nil, Change{Dir: r.node.fid, Name: base})
	return s.found(r, h, a, base)
}

func (s *Session) link(ctx context.Context, r *request) error {
	var m fuse.LinkIn
	m.Decode(&r.d)
	base, err := r.last()
	if err != nil {
		return err
	}
	target := s.nodes.get(m.OldNodeID)
	if target == nil {
		return posix.ESTALE
	}
	defer s.nodes.unref(target)
	if !r.node.isDir() {
		return posix.ENOTDIR
	}
	if target.isDir() {
		return posix.EPERM
	}
	done, linked := s.echo(r.node, base, echoCreate), s.echoFile(target, echoAttrib)
	a, err := r.node.n.Link(base, target.n)
	done()
	linked()
	if err != nil {
		return err
	}
	s.changed(ctx, r.node, target, Change{Dir: r.node.fid, Name: base}, Change{File: target.fid})
	s.nodes.grant(target, r.node, base)
	r.append(s.entry(r, r.node, target, &a))
	s.nodes.unref(target)
	return nil
}

func (s *Session) unlink(ctx context.Context, r *request) error {
	return s.remove(ctx, r, Node.Unlink)
}

func (s *Session) rmdir(ctx context.Context, r *request) error {
	return s.remove(ctx, r, Node.Rmdir)
}

func (s *Session) remove(ctx context.Context, r *request, do func(Node, string) error) error {
	base, err := r.last()
	if err != nil {
		return err
	}
	if !r.node.isDir() {
		return posix.ENOTDIR
	}
	victim := s.nodes.child(r.node, base)
	if victim != nil {
		defer s.nodes.unref(victim)
	}
	done, gone := s.echo(r.node, base, echoRemove), nothing
	if victim != nil {
		gone = s.echoFile(victim, echoAttrib) // it may have other names
	}
	err = do(r.node.n, base)
	done()
	gone()
	if err != nil {
		return err
	}
	s.nodes.relink(r.node, base, nil)
	list := []Change{{Dir: r.node.fid, Name: base}}
	if victim != nil {
		list = append(list, Change{File: victim.fid})
	}
	s.changed(ctx, r.node, victim, list...)
	r.reply(0)
	return nil
}

func (s *Session) rename(ctx context.Context, r *request) error {
	var m fuse.RenameIn
	m.Decode(&r.d)
	return s.renameTo(ctx, r, m.NewDir, 0)
}

func (s *Session) rename2(ctx context.Context, r *request) error {
	var m fuse.Rename2In
	m.Decode(&r.d)
	return s.renameTo(ctx, r, m.NewDir, m.Flags)
}

func (s *Session) renameTo(ctx context.Context, r *request, newDir uint64, flags uint32) error {
	base, newBase := r.d.Name(), r.d.Name()
	if err := r.d.End(); err != nil {
		return err
	}
	if err := checkName(base); err != nil {
		return err
	}
	if err := checkName(newBase); err != nil {
		return err
	}
	if flags&^(posix.RENAME_NOREPLACE|posix.RENAME_EXCHANGE) != 0 ||
		flags == posix.RENAME_NOREPLACE|posix.RENAME_EXCHANGE {
		return posix.EINVAL
	}
	to := s.nodes.get(newDir)
	if to == nil {
		return posix.ESTALE
	}
	defer s.nodes.unref(to)
	if !r.node.isDir() || !to.isDir() {
		return posix.ENOTDIR
	}
	list := []Change{{Dir: r.node.fid, Name: base}, {Dir: to.fid, Name: newBase}}
	moved, replaced := s.nodes.child(r.node, base), s.nodes.child(to, newBase)
	echoes := []func(){s.echo(r.node, base, echoRemove), s.echo(to, newBase, echoCreate)}
	for _, n := range [...]*node{moved, replaced} {
		if n != nil {
			list = append(list, Change{File: n.fid})
			echoes = append(echoes, s.echoFile(n, echoAttrib)) // the time of its change moves
			defer s.nodes.unref(n)
		}
	}
	// A host that does not say who made a change tells first that what was replaced is
	// gone, and an exchange by both names twice.
	if replaced != nil && replaced != moved {
		echoes = append(echoes, s.echo(to, newBase, echoRemove))
	}
	if flags&posix.RENAME_EXCHANGE != 0 {
		echoes = append(echoes, s.echo(r.node, base, echoCreate))
	}
	err := r.node.n.Rename(base, to.n, newBase, flags)
	for _, done := range echoes {
		done()
	}
	if err != nil {
		return err
	}
	s.nodes.move(r.node, base, to, newBase, flags&posix.RENAME_EXCHANGE != 0)
	s.changed(ctx, r.node, to, list...)
	r.reply(0)
	return nil
}
