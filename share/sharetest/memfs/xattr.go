package memfs

import (
	"maps"
	"slices"
	"strings"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// keeps says whether a file can have an attribute: ENODATA for one of users' on what is
// neither a regular file nor a folder, EOPNOTSUPP for a kind that there is not.
func (i *inode) keeps(name string) error {
	if len(name) > posix.XATTR_NAME_MAX {
		return posix.ERANGE
	}
	switch kind, rest, _ := strings.Cut(name, "."); {
	case rest == "":
		return posix.EOPNOTSUPP
	case kind == "trusted" || kind == "security":
		return nil
	case kind != "user":
		return posix.EOPNOTSUPP
	}
	if t := i.attr.Mode & posix.S_IFMT; t != posix.S_IFREG && t != posix.S_IFDIR {
		return posix.ENODATA
	}
	return nil
}

func (n *node) Getxattr(name string) ([]byte, error) {
	defer n.lock()()
	if err := n.i.keeps(name); err != nil {
		return nil, err
	}
	v, ok := n.i.xattrs[name]
	if !ok {
		return nil, posix.ENODATA
	}
	return slices.Clone(v), nil
}

func (n *node) Setxattr(name string, value []byte, flags uint32) error {
	defer n.lock()()
	_, ok := n.i.xattrs[name]
	kind := n.i.keeps(name)
	switch {
	case kind == posix.ENODATA:
		return posix.EPERM
	case kind != nil:
		return kind
	case len(value) > posix.XATTR_SIZE_MAX:
		return posix.E2BIG
	case ok && flags&posix.XATTR_CREATE != 0:
		return posix.EEXIST
	case !ok && flags&posix.XATTR_REPLACE != 0:
		return posix.ENODATA
	}
	if n.i.xattrs == nil {
		n.i.xattrs = make(map[string][]byte)
	}
	n.i.xattrs[name] = slices.Clone(value)
	n.i.touch(false)
	n.fs.tellFile(n.i, share.EventAttrib, n.origin)
	return nil
}

func (n *node) Listxattr() ([]string, error) {
	defer n.lock()()
	return slices.Sorted(maps.Keys(n.i.xattrs)), nil
}

func (n *node) Removexattr(name string) error {
	defer n.lock()()
	if err := n.i.keeps(name); err != nil {
		return err
	}
	if _, ok := n.i.xattrs[name]; !ok {
		return posix.ENODATA
	}
	delete(n.i.xattrs, name)
	n.i.touch(false)
	n.fs.tellFile(n.i, share.EventAttrib, n.origin)
	return nil
}
