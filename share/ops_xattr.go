package share

import (
	"context"
	"strings"

	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// checkXattr refuses names that no file of a share has: those of the system are made by
// the guest's kernel from what it knows of the file system, and this one has no ACLs.
func checkXattr(attr string) error {
	switch {
	case len(attr) > posix.XATTR_NAME_MAX:
		return posix.ERANGE
	case attr == "":
		return posix.EINVAL
	case strings.HasPrefix(attr, "system."):
		return posix.EOPNOTSUPP
	}
	return nil
}

func (s *Session) setxattr(ctx context.Context, r *request) error {
	var m fuse.SetxattrIn
	m.Decode(&r.d)
	attr := r.d.Name()
	value := r.d.Bytes(m.Size)
	if err := r.d.End(); err != nil {
		return err
	}
	if err := checkXattr(attr); err != nil {
		return err
	}
	if m.Size > posix.XATTR_SIZE_MAX {
		return posix.E2BIG
	}
	if m.Flags&^(posix.XATTR_CREATE|posix.XATTR_REPLACE) != 0 {
		return posix.EINVAL
	}
	done := s.echoFile(r.node, echoAttrib)
	err := r.node.n.Setxattr(attr, value, m.Flags)
	done()
	if err != nil {
		return err
	}
	if attr == capability {
		r.first = s.notPlain()
	}
	s.changed(ctx, r.node, nil, Change{File: r.node.fid})
	r.reply(0)
	return nil
}

func (s *Session) removexattr(ctx context.Context, r *request) error {
	attr := r.d.Name()
	if err := r.d.End(); err != nil {
		return err
	}
	if err := checkXattr(attr); err != nil {
		return err
	}
	done := s.echoFile(r.node, echoAttrib)
	err := r.node.n.Removexattr(attr)
	done()
	if err != nil {
		return err
	}
	s.changed(ctx, r.node, nil, Change{File: r.node.fid})
	r.reply(0)
	return nil
}

func (s *Session) getxattr(_ context.Context, r *request) error {
	var m fuse.GetxattrIn
	m.Decode(&r.d)
	attr := r.d.Name()
	if err := r.d.End(); err != nil {
		return err
	}
	if err := checkXattr(attr); err != nil {
		return err
	}
	value, err := r.node.n.Getxattr(attr)
	if err != nil {
		return err
	}
	return r.sized(m.Size, value)
}

func (s *Session) listxattr(_ context.Context, r *request) error {
	var m fuse.GetxattrIn
	m.Decode(&r.d)
	if err := r.d.End(); err != nil {
		return err
	}
	names, err := r.node.n.Listxattr()
	if err != nil {
		return err
	}
	var list []byte
	for _, n := range names {
		if r.UID != 0 && strings.HasPrefix(n, "trusted.") {
			// The guest's kernel guards their values, and leaves their names to the file
			// system. Of the caller's rights only the user is known here.
			continue
		}
		list = fuse.AppendName(list, n)
	}
	if len(list) > posix.XATTR_LIST_MAX {
		return posix.E2BIG
	}
	return r.sized(m.Size, list)
}

// sized answers with a value, or with its size when none was given.
func (r *request) sized(size uint32, value []byte) error {
	if size == 0 {
		r.append(fuse.GetxattrOut{Size: uint32(len(value))})
		return nil
	}
	if uint64(len(value)) > uint64(size) {
		return posix.ERANGE
	}
	r.reply(len(value))
	r.out.b = append(r.out.b, value...)
	return nil
}
