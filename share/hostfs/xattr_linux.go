package hostfs

import (
	"bytes"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/share/posix"
)

const capabilityName = "security.capability"

// reserved are the beginnings of names that are the server's or the host's own: a guest
// neither sees nor sets them. The labels of the host's security modules say what the
// host's programs may do with a file.
var reserved = []string{
	"user.containers.", "trusted.containers.",
	"security.selinux", "security.apparmor", "security.SMACK64", "security.ima", "security.evm", "security.landlock",
}

func isReserved(name string) bool {
	for _, r := range reserved {
		if strings.HasPrefix(name, r) {
			return true
		}
	}
	return false
}

// checkXattr says with an error what cannot be under a name: as hidden for one that the
// server keeps for itself, EOPNOTSUPP for kinds that no guest has on a share.
func checkXattr(name string, hidden posix.Errno) error {
	kind, rest, ok := strings.Cut(name, ".")
	switch {
	case name == "" || len(name) > posix.XATTR_NAME_MAX:
		return posix.ERANGE
	case strings.IndexByte(name, 0) >= 0:
		return posix.EINVAL
	case !ok || kind != "user" && kind != "trusted" && kind != "security":
		return posix.EOPNOTSUPP
	case rest == "":
		return posix.EINVAL
	case isReserved(name):
		return hidden
	}
	return nil
}

// bare tells whether a file has no attribute of that name because of its type: only
// regular files and folders have attributes of users, whatever stands for the others on
// the host.
func (n *node) bare(name string) bool {
	return n.typ != posix.S_IFREG && n.typ != posix.S_IFDIR && strings.HasPrefix(name, "user.")
}

// Getxattr returns an extended attribute's value.
func (n *node) Getxattr(name string) ([]byte, error) {
	if err := checkXattr(name, posix.ENODATA); err != nil {
		return nil, err
	}
	if n.bare(name) {
		return nil, posix.ENODATA
	}
	var value []byte
	err := n.with(func(fd int) (err error) {
		value, err = grow(func(buf []byte) (int, error) { return unix.Getxattr(procPath(fd), name, buf) }, posix.XATTR_SIZE_MAX)
		return err
	})
	return value, err
}

// Setxattr sets an extended attribute.
func (n *node) Setxattr(name string, value []byte, flags uint32) error {
	if err := checkXattr(name, posix.EPERM); err != nil {
		return err
	}
	if len(value) > posix.XATTR_SIZE_MAX {
		return posix.E2BIG
	}
	if n.bare(name) {
		return posix.EPERM
	}
	return n.change(func(fd int) error {
		return again(func() error { return unix.Setxattr(procPath(fd), name, value, int(flags)) })
	})
}

// Removexattr removes an extended attribute.
func (n *node) Removexattr(name string) error {
	if err := checkXattr(name, posix.ENODATA); err != nil {
		return err
	}
	if n.bare(name) {
		return posix.EPERM
	}
	return n.change(func(fd int) error {
		return again(func() error { return unix.Removexattr(procPath(fd), name) })
	})
}

// Listxattr returns the names of the extended attributes.
func (n *node) Listxattr() ([]string, error) {
	var list []byte
	err := n.with(func(fd int) (err error) {
		list, err = grow(func(buf []byte) (int, error) { return unix.Listxattr(procPath(fd), buf) }, posix.XATTR_LIST_MAX)
		return err
	})
	if err == posix.EOPNOTSUPP {
		return nil, nil
	}
	return slices.DeleteFunc(visibleNames(list), n.bare), err
}

// visibleNames splits a list as listxattr(2) gives it, less what is hidden.
func visibleNames(list []byte) []string {
	var names []string
	for len(list) > 0 {
		name, rest, _ := bytes.Cut(list, []byte{0})
		list = rest
		if s := string(name); s != "" && checkXattr(s, posix.ENODATA) == nil {
			names = append(names, s)
		}
	}
	return names
}

// grow reads something whose size is not known: first with a small buffer, which is
// enough for nearly all, then with the largest.
func grow(read func([]byte) (int, error), most int) ([]byte, error) {
	buf := make([]byte, 256)
	for {
		size, err := read(buf)
		switch {
		case err == nil:
			return buf[:size:size], nil
		case err == unix.EINTR:
			continue
		case err != unix.ERANGE || len(buf) >= most:
			return nil, toErrno(err)
		}
		buf = make([]byte, most)
	}
}
